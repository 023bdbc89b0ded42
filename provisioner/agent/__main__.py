"""Entry point of `b9agent.pyz` and of `python -m provisioner.agent`."""

from __future__ import annotations

import sys

from provisioner.agent.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
