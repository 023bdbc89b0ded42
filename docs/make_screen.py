"""Makes a picture of the dashboard, or of one agent's terminal UI, from workers that run.

python docs/make_screen.py docs/agent.svg INVENTORY w1     the terminal UI of w1's agent
python docs/make_screen.py docs/dashboard.svg INVENTORY    the dashboard
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from functools import partial
from pathlib import Path

from provisioner.agent.tui.app import AgentApp, MachineApp
from provisioner.agent.tui.panes import Log
from provisioner.dashboard.app import Dashboard
from provisioner.dashboard.reach import Reach
from provisioner.inventory import load_inventory
from provisioner.report.picture import without_fonts
from provisioner.secrets import mask

PATIENCE = 30.0  # seconds
SIZE = {AgentApp: (100, 28), Dashboard: (120, 36)}


async def drawn(app: MachineApp) -> str:
    """The SVG, once the machine in view has told all there is."""
    async with app.run_test(size=SIZE[type(app)]) as pilot:
        give_up = time.monotonic() + PATIENCE
        while not (app.watched and app.watched.sight.pods and app.query_one(Log).lines):
            if time.monotonic() > give_up:
                raise SystemExit("no worker with a pod is in view")
            await pilot.pause(0.1)
        await pilot.pause(3.0)  # the other workers
        return app.export_screenshot(title=app.title)


def main(target: str, inventory: str, name: str = "") -> None:
    """Write the picture to `target`."""
    hosts = load_inventory(Path(inventory)).hosts
    reach = Reach("strict", len(hosts))
    app: MachineApp
    if name:
        app = AgentApp(partial(reach.way, hosts[name]))
    else:
        app = Dashboard(list(hosts.values()), reach)
    svg = without_fonts(mask(asyncio.run(drawn(app))))
    Path(target).write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: make_screen.py FILE.svg INVENTORY [HOST]")
    main(*sys.argv[1:])
