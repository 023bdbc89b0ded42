"""Each playbook of the corpus leaves the same hosts and counts as with ansible-core."""

from __future__ import annotations

import pytest
from harness.comparison import differences, report
from harness.corpus import Entry, load_corpus
from harness.lanes import Results

SECONDS = 900.0


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("entry", load_corpus(), ids=lambda entry: entry.name)
def test_as_ansible_does(entry: Entry, results: Results) -> None:
    """Checked, run, checked and run again."""
    theirs, ours = (outcome.result(SECONDS) for outcome in results[entry.name])
    refused = [step.ran.said for step in theirs if not step.ran.counts]
    assert not refused, f"{entry.name} is none of Ansible's language: {refused[0]}"
    found = differences(theirs, ours)
    surprises = [each for each in found if not any(map(each.fits, entry.differences))]
    gone = [e for e in entry.differences if not any(each.fits(e) for each in found)]
    if surprises:
        pytest.fail(f"{entry.name}\n{report(surprises, theirs, ours)}", pytrace=False)
    assert not gone, f"{entry.name}: no longer differs: {gone}"
