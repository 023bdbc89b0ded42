"""Runs the corpus with ansible-core and with b9prov on equal hosts, and compares what is left."""
