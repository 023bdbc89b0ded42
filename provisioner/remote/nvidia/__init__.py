"""What a host's NVIDIA GPUs are like, as rows of a truth table: what `nvidia_check` looks at."""
