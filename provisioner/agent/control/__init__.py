"""The control API: what the machine's owner asks of a running agent by HTTP."""
