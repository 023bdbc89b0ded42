"""Host patterns, as Ansible's: unions first, then intersections, then exclusions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from provisioner.errors import BadInput, Problem, Source
from provisioner.inventory.explain import suggestion

_WORD = re.compile(r"[!&]?[A-Za-z0-9._*?-]+")


def select(pattern: str, hosts: Sequence[str], groups: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names of the hosts that `pattern` matches, in the order of `hosts`. Raises BadInput."""
    words = _words(pattern)
    problems: list[Problem] = []
    wanted: set[str] = set()
    only: list[set[str]] = []
    excluded: set[str] = set()
    for word, where in words:
        matched = _matches(word.lstrip("!&"), where, hosts, groups, problems)
        if word.startswith("!"):
            excluded |= matched
        elif word.startswith("&"):
            only.append(matched)
        else:
            wanted |= matched
    if problems:
        raise BadInput(problems)
    if all(word[0] in "!&" for word, _ in words):
        wanted = set(hosts)
    selected = wanted.intersection(*only) - excluded
    if not selected:
        raise BadInput.of(f"no host matches {pattern!r}", advice=_known(hosts, groups))
    return [name for name in hosts if name in selected]


def _words(pattern: str) -> list[tuple[str, Source | None]]:
    words: list[tuple[str, Source | None]] = []
    for part in pattern.split(","):
        if part.strip().startswith("@"):
            words += _from_file(Path(part.strip()[1:]).expanduser())
        else:
            words += [(word.strip(), None) for word in part.split(":") if word.strip()]
    for word, where in words:
        if not _WORD.fullmatch(word):
            raise BadInput.of(
                f"not a host pattern: {word!r}",
                where,
                "names, groups, *, ?, !x, &x and @FILE, with commas between",
            )
    if not words:
        raise BadInput.of(f"no host in pattern {pattern!r}", advice="leave it out for all hosts")
    return words


def _from_file(path: Path) -> list[tuple[str, Source | None]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadInput.of(f"can't read the list of hosts {path}: {reason}") from None
    return [
        (line.strip(), Source(str(path), number))
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _matches(
    word: str,
    where: Source | None,
    hosts: Sequence[str],
    groups: Mapping[str, tuple[str, ...]],
    problems: list[Problem],
) -> set[str]:
    if word == "all":
        return set(hosts)
    if "*" in word or "?" in word:
        found = {name for name in hosts if fnmatchcase(name, word)}
        return found.union(*(names for group, names in groups.items() if fnmatchcase(group, word)))
    if word in hosts:
        return {word}
    if word in groups:
        return set(groups[word])
    advice = suggestion(word, [*hosts, *groups]) or _known(hosts, groups)
    problems.append(Problem(f"no host or group is named {word!r}", where, advice))
    return set()


def _known(hosts: Sequence[str], groups: Mapping[str, tuple[str, ...]]) -> str:
    names = [*hosts, *groups]
    return "known: " + ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
