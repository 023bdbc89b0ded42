"""What stays on a worker: registers it and keeps it ready. Imports only its own room."""

VERSION = "0.1.0"
