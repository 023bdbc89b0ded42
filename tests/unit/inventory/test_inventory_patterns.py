"""Which hosts a pattern means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.inventory import Inventory

Load = Callable[..., Inventory]

TEXT = """\
    gateway: {host: gw}
    groups:
      lambda: {hosts: [w1, w2]}
      large: {hosts: [w2, b1]}
    hosts: {w1: , w2: , w10: , b1: }
    """


@pytest.fixture
def inventory(load: Load) -> Inventory:
    return load(TEXT)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (None, "w1 w2 w10 b1"),
        ("all", "w1 w2 w10 b1"),
        ("*", "w1 w2 w10 b1"),
        ("w2", "w2"),
        ("w2,w1", "w1 w2"),
        ("w2:w1", "w1 w2"),
        (" w1 , b1 ", "w1 b1"),
        ("lambda", "w1 w2"),
        ("lambda,b1", "w1 w2 b1"),
        ("w*", "w1 w2 w10"),
        ("w?", "w1 w2"),
        ("l*", "w1 w2 b1"),
        ("!w1", "w2 w10 b1"),
        ("all:!lambda", "w10 b1"),
        ("!lambda,all", "w10 b1"),
        ("lambda:&large", "w2"),
        ("&large", "w2 b1"),
        ("w*,&lambda,!w1", "w2"),
        ("gateway", "gateway"),
    ],
)
def test_a_pattern_selects(inventory: Inventory, pattern: str | None, names: str) -> None:
    assert [host.name for host in inventory.select(pattern)] == names.split()


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("w11", "no host or group is named 'w11' (did you mean 'w1'?)"),
        ("lamda", "no host or group is named 'lamda' (did you mean 'lambda'?)"),
        ("zebra", "no host or group is named 'zebra' (known: w1, w2, w10, b1, lambda, large)"),
        ("!zebra", "no host or group is named 'zebra' (known: w1, w2, w10, b1, lambda, large)"),
        ("x*", "no host matches 'x*' (known: w1, w2, w10, b1, lambda, large)"),
        ("w1,!w1", "no host matches 'w1,!w1' (known: w1, w2, w10, b1, lambda, large)"),
        ("", "no host in pattern '' (leave it out for all hosts)"),
        (
            "w[1]",
            "not a host pattern: 'w[1]' "
            "(names, groups, *, ?, !x, &x and @FILE, with commas between)",
        ),
        ("@none", "can't read the list of hosts none: No such file or directory"),
    ],
)
def test_a_pattern_that_selects_nothing_says_why(
    inventory: Inventory, pattern: str, problem: str
) -> None:
    with pytest.raises(BadInput) as caught:
        inventory.select(pattern)
    assert str(caught.value) == problem


def test_every_unknown_name_is_reported(inventory: Inventory) -> None:
    with pytest.raises(BadInput) as caught:
        inventory.select("zebra,w1,yak")
    assert len(caught.value.problems) == 2


def test_a_file_lists_hosts(inventory: Inventory) -> None:
    Path("retry.txt").write_text("# failed\nb1\n\n  w1  \n")
    assert [host.name for host in inventory.select("@retry.txt")] == ["w1", "b1"]
    assert [host.name for host in inventory.select("@retry.txt,!b1")] == ["w1"]


def test_a_wrong_name_in_a_file_has_its_line(inventory: Inventory) -> None:
    Path("retry.txt").write_text("b1\nw11\n")
    with pytest.raises(BadInput) as caught:
        inventory.select("@retry.txt")
    problem = "retry.txt:2: no host or group is named 'w11' (did you mean 'w1'?)"
    assert str(caught.value) == problem


def test_an_empty_file_selects_no_host_and_not_all(inventory: Inventory) -> None:
    Path("retry.txt").write_text("\n")
    with pytest.raises(BadInput, match="no host in pattern"):
        inventory.select("@retry.txt")
