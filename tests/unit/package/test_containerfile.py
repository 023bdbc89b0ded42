"""The image's definition: what it copies is there, and what it says holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
CONTAINERFILE = (REPOSITORY / "Containerfile").read_text()
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in CONTAINERFILE.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
KNOWN = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def arguments(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def test_the_instructions_are_known() -> None:
    assert {name for name, _ in INSTRUCTIONS} <= KNOWN
    assert INSTRUCTIONS[0][0] == "FROM"


@pytest.mark.parametrize("copied", arguments("COPY"))
def test_what_is_copied_is_there(copied: str) -> None:
    words = copied.split()
    if words[0].startswith("--from="):
        stages = re.findall(r"^FROM \S+ AS (\w+)$", CONTAINERFILE, re.MULTILINE)
        assert words[0].removeprefix("--from=") in stages
    else:
        assert all((REPOSITORY / source).exists() for source in words[:-1])


def test_all_that_the_wheel_is_built_of_is_copied() -> None:
    copied = {word for each in arguments("COPY") for word in each.split()[:-1]}
    metadata = (REPOSITORY / "pyproject.toml").read_text()
    included = re.search(r"force-include\]\n(.*?)\n\n", metadata, re.DOTALL)
    assert included
    assert set(re.findall(r'^"([^"]+)" =', included[1], re.MULTILINE)) <= copied


def test_it_is_slim_and_runs_as_nobody_special() -> None:
    assert all(image.split()[0].endswith("-slim") for image in arguments("FROM"))
    assert arguments("USER") == ["b9prov"]
    for script in arguments("RUN"):
        if "apt-get install" in script:
            assert "--no-install-recommends" in script and "rm -rf /var/lib/apt/lists" in script
