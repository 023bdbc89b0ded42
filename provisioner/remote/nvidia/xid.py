"""The row about Xids: what the driver has told the kernel's log of its GPUs since the boot.

Source: https://docs.nvidia.com/deploy/xid-errors/
"""

from __future__ import annotations

import re
from typing import NamedTuple

from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.nvidia.machine import Machine

_LINE = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")
OF_PROGRAMS = frozenset((8, 13, 31, 32, 43, 45, 68, 69))
"""A program on the GPU is to blame for these; the GPU is well."""

_RESET = "reset the GPU (nvidia-smi -r) or reboot; where it comes again, have it replaced"
_LINK = "see which link fails (nvidia-smi nvlink -e) and reset its GPUs"


class Meaning(NamedTuple):
    """What an Xid says of a GPU."""

    severity: str
    what: str
    fix: str


MEANINGS = {
    48: Meaning(ERROR, "an error of its memory that could not be corrected", _RESET),
    61: Meaning(WARN, "its microcontroller stopped", _RESET),
    62: Meaning(ERROR, "its microcontroller halted", _RESET),
    63: Meaning(WARN, "a row or page of its memory is to be replaced", "reset the GPU once idle"),
    64: Meaning(ERROR, "a row or page of its memory could not be replaced", _RESET),
    74: Meaning(ERROR, "an error of its NVLink", _LINK),
    79: Meaning(
        ERROR,
        "it has fallen off the bus",
        "power the host off and on; where it comes again, see to its power, riser and seat",
    ),
    92: Meaning(WARN, "many corrected errors of its memory", _RESET),
    94: Meaning(
        WARN, "an error of its memory, contained to one program", "reset the GPU once idle"
    ),
    95: Meaning(ERROR, "an error of its memory that could not be contained", _RESET),
    119: Meaning(ERROR, "its system processor does not answer", _RESET),
    120: Meaning(ERROR, "its system processor failed", _RESET),
    140: Meaning(ERROR, "an error of its memory that could not be recovered from", _RESET),
    143: Meaning(ERROR, "it could not be started", _RESET),
    **dict.fromkeys(range(144, 151), Meaning(ERROR, "an error of its NVLink", _LINK)),
}
_OTHER = Meaning(WARN, "", "look it up at https://docs.nvidia.com/deploy/xid-errors")


def rows(machine: Machine, checks: Checks) -> None:
    """Note the Xids since the boot; the gravest says what to do."""
    lines = _told(machine)
    if lines is None:
        checks.skip("Xid errors", "the kernel's log can't be read")
        return
    seen = sorted({(int(number), place) for place, number in _LINE.findall(lines)})
    faults = [(number, place) for number, place in seen if number not in OF_PROGRAMS]
    faults.sort(key=lambda each: MEANINGS.get(each[0], _OTHER).severity != ERROR)
    programs = sorted({str(number) for number, _ in seen} - {str(number) for number, _ in faults})
    told = [f"{number} of {place}{_what(number)}" for number, place in faults]
    if programs:
        told.append(f"{', '.join(programs)}, of programs")
    worst = MEANINGS.get(faults[0][0], _OTHER) if faults else _OTHER
    found = "; ".join(told) or "none since boot"
    checks.add("Xid errors", not faults, found, "none of the GPU's", worst.fix, worst.severity)


def _what(number: int) -> str:
    meaning = MEANINGS.get(number)
    return f" ({meaning.what})" if meaning else ""


def _told(machine: Machine) -> str | None:
    """The lines of the kernel's log with Xids in them: the journal's, which keeps more, or
    dmesg's."""
    words = ("--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat", "--grep=NVRM: Xid")
    journal = machine.ask("journalctl", *words)
    if journal.rc == 0 or (journal.started and journal.rc == 1 and not journal.stderr.strip()):
        return journal.stdout
    ring = machine.ask("dmesg")
    return ring.stdout if ring.rc == 0 else None
