"""The terminal UI: a client of the control API, drawn with Textual.

The running agent never imports it. `b9prov dashboard` shows many agents by the same widgets.
"""
