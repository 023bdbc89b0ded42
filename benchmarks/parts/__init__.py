"""What is measured: one module per part, each with `measure` and `table`."""
