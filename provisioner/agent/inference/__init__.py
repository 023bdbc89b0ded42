"""The server of models on this machine: start, stop, health, models, pulls."""
