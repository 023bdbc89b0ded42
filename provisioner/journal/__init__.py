"""What is kept of runs: a record of each, its events, a log of every host; and plans.

with Journal.begin(folder, record, formats) as journal: run(sink=journal)
runs(folder), find(folder, "last")
"""

from provisioner.journal.planfile import Plan, load_plan, save_plan
from provisioner.journal.record import Record
from provisioner.journal.store import find, runs
from provisioner.journal.writer import Formats, Journal

__all__ = [
    "Formats",
    "Journal",
    "Plan",
    "Record",
    "find",
    "load_plan",
    "runs",
    "save_plan",
]
