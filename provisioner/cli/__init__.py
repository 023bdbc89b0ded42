"""The command line: parse, call, render; nothing else lives here."""
