"""Programs that lab workers install in place of Ollama and k3s.

Each is one executable zip of this package that needs Python 3.9 and nothing else. The stand-ins
say in their version output that they are stand-ins; the thin k3s runs the real Kubernetes programs.
"""
