"""Where the agent's settings come from, and `b9agent config`, which shows, sets and checks them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from provisioner.agent import configfile
from provisioner.agent.aside import aside
from provisioner.agent.flags import Flags, UsageError, parse
from provisioner.agent.log import MASK, Log, hide
from provisioner.agent.settings import (
    SETTINGS,
    BadSettings,
    Setting,
    Source,
    check,
    find,
    from_environment,
    resolve,
)

_BY_NAME = {name: s for s in SETTINGS for name in (s.path, s.flag)}


def sources(flags: Flags, log: Log) -> list[Source]:
    """Flags, environment and file, the strongest first. Raises BadSettings."""
    for setting in SETTINGS:
        if setting.secret and setting.flag in flags.values:
            hide(flags.values[setting.flag])
            log.warning(f"--{setting.flag} shows in the process list; the file does not")
    found = [Source("flags", flags.values, Path.cwd()), from_environment(os.environ)]
    path = configfile.find(flags.values.get("config"))
    if path:
        values, odd = aside(lambda: [configfile.load(path, log).values, log.troubles])
        log.troubles.update(odd)  # which the child has told already
        found.append(Source(str(path), values, path.parent))
    return found


def config(arguments: list[str]) -> int:
    """`b9agent config show|set|validate`; the exit code. Raises UsageError and BadSettings."""
    verbs = {"show": _show, "set": _set, "validate": _validate}
    flags = parse(arguments, ["config", *(s.flag for s in SETTINGS)], ("json",))
    if not flags.words or flags.words[0] not in verbs:
        raise UsageError(f"config needs one of: {', '.join(verbs)}")
    return verbs[flags.words[0]](flags, flags.words[1:])


def _show(flags: Flags, words: list[str]) -> int:
    """Every setting that has a value, and where it is from; secrets masked."""
    if words:
        raise UsageError("config show takes no further words")
    problems: list[str] = []
    there = sources(flags, Log())
    rows = [(setting, *find(setting, there, problems)) for setting in SETTINGS]
    shown = [(s.path, MASK if s.secret else value, place) for s, value, place in rows if value]
    if flags.switches.get("json"):
        print(json.dumps({path: {"value": value, "from": place} for path, value, place in shown}))
    else:
        for path, value, place in shown:
            print(f"{path:20} {value:28} {place}")
    for problem in problems:
        print(f"b9agent: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _set(flags: Flags, words: list[str]) -> int:
    """Write settings to the file that is read, or to the user's; the others in it stay."""
    if not words:
        raise UsageError("config set needs KEY=VALUE; KEY=- reads the value from standard input")
    path = configfile.find(flags.values.get("config")) or configfile.user_file()
    values = dict(configfile.load(path, Log()).values) if configfile.is_there(path) else {}
    for word in words:
        setting, value = _assignment(word)
        problems = check(setting, value) if value else []
        if problems:
            raise BadSettings(problems)
        values[setting.flag] = value
    try:
        configfile.write(path, values)
    except OSError as problem:
        raise BadSettings([f"cannot write {path}: {problem.strerror}"]) from None
    print(f"settings written to {path}")
    return 0


def _assignment(word: str) -> tuple[Setting, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError("config set takes KEY=VALUE")
    if name not in _BY_NAME:
        raise UsageError(f"unknown setting; there are: {', '.join(s.path for s in SETTINGS)}")
    setting = _BY_NAME[name]
    if value == "-":
        value = sys.stdin.readline().strip()
    elif setting.secret and value:
        warning = f"{setting.path} showed in the process list; {setting.path}=- reads it from stdin"
        Log().warning(warning)
    return setting, value


def _validate(flags: Flags, words: list[str]) -> int:
    """Whether the agent could run with its settings."""
    if words:
        raise UsageError("config validate takes no further words")
    settings = resolve(sources(flags, Log()))
    print(f"the settings are good: machine {settings.machine_id}, pool {settings.pool}")
    return 0
