"""What the counters of an NVIDIA GPU's memory mean, whoever tells them."""

from __future__ import annotations


def memory_problem(failed: bool, pending: bool, uncorrected: int) -> str:
    """What is wrong with a GPU's memory: rows or pages that can't be or wait to be put out of use,
    and errors since boot that were not corrected. Empty where nothing is."""
    if failed:
        return "a row of its memory could not be remapped: have it replaced"
    if pending:
        return "pages of its memory wait to be retired: reset it, or reboot"
    return f"{uncorrected} uncorrected errors of its memory since boot" if uncorrected else ""
