"""All workers of an inventory at a glance, by the widgets of the agent's terminal UI."""
