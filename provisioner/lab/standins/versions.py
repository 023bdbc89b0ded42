"""The versions whose interfaces the lab's programs have."""

from __future__ import annotations

OLLAMA = "0.9.6"
KUBERNETES = "v1.33.4"
K3S = f"{KUBERNETES}+k3s1"
K3S_THIN = f"{KUBERNETES}+b9thin"
