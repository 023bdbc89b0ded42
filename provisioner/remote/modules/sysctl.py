"""A kernel parameter. ansible.posix's `sysctl`: name, value, state, reload, sysctl_set…"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from provisioner.remote import files, process
from provisioner.remote.arguments import FALSE, TRUE, Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True, aliases=("key",)),
    "value": Argument("str", aliases=("val",)),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "reload": Argument("bool", default=True),
    "sysctl_set": Argument("bool", default=False),
    "ignoreerrors": Argument("bool", default=False),
    "sysctl_file": Argument("str", default="/etc/sysctl.conf"),
}
TIMEOUT = 60
# sysctl says this and exits with 0
_REFUSED = re.compile(
    r'^sysctl: setting key "[^"]+": (Invalid argument|Read-only file system)$', re.MULTILINE
)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the file, and as asked the kernel, to the parameter's value."""
    name, present = arguments["name"].strip(), arguments["state"] == "present"
    if not name:
        raise ModuleFailed("name cannot be blank")
    if present and arguments["value"] is None:
        raise ModuleFailed("state is present but all of the following are missing: value")
    if present and not arguments["value"]:
        raise ModuleFailed("value cannot be blank")
    value = _word(arguments["value"] or "")
    path = os.path.realpath(files.expand(arguments["sysctl_file"]))
    old = Path(path).read_bytes() if os.path.isfile(path) else b""
    lines = [line.strip() for line in old.decode("utf-8", "surrogateescape").splitlines()]
    in_file = dict(filter(None, map(_setting, lines))).get(name)
    rewrite = in_file != value if present else bool(in_file)
    right = (_current(name) or "").split() == value.split()
    set_now = present and arguments["sysctl_set"] and not right
    reload = present and arguments["reload"] and not right
    result: Result = {"changed": rewrite or set_now or reload}
    new = _rewritten(lines, name, value if present else None) if rewrite else old
    if not context.check:
        ignoring = ["-e"] if arguments["ignoreerrors"] else []
        if set_now:
            _sysctl([*ignoring, "-w", f"{name}={value}"], f"setting {name} failed")
        if rewrite:
            files.write(path, new)
        if result["changed"] and arguments["reload"]:
            _sysctl([*ignoring, "-p", path], "Failed to reload sysctl")
    files.add_diff(result, context, path, (old, new) if rewrite else None)
    return result


def _word(value: str) -> str:
    """A value as the kernel has it: yes and no are numbers."""
    word = value.strip().lower()
    if word in TRUE or word in FALSE:
        return "1" if word in TRUE else "0"
    return value.strip()


def _setting(line: str) -> tuple[str, str] | None:
    if line.startswith(("#", ";")) or "=" not in line:
        return None
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _rewritten(lines: list[str], name: str, value: str | None) -> bytes:
    """The file with the parameter at `value`, or without it, and every other one once."""
    seen: set[str] = set()
    new = []
    for line in lines:
        setting = _setting(line)
        if setting is None:
            new.append(line)
        elif setting[0] not in seen:
            seen.add(setting[0])
            own = value if setting[0] == name else setting[1]
            new += [] if own is None else [f"{setting[0]}={own}"]
    if name not in seen and value is not None:
        new.append(f"{name}={value}")
    return "".join(f"{line}\n" for line in new).encode("utf-8", "surrogateescape")


def _current(name: str) -> str | None:
    """The kernel's value; None when there is none, or none that may be read."""
    first = re.search(r"[./]", name)
    if first and first[0] == ".":  # net.ipv4.conf.eth0/1 means the interface eth0.1
        name = name.translate(str.maketrans("./", "/."))
    try:
        return (Path("/proc/sys") / name.lstrip("/")).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _sysctl(words: list[str], complaint: str) -> None:
    outcome = process.run(["sysctl", *words], timeout=TIMEOUT)
    if outcome.rc != 0 or _REFUSED.search(outcome.stderr):
        raise ModuleFailed(
            f"{complaint}: {outcome.stdout}{outcome.stderr}",
            rc=outcome.rc,
            stdout=outcome.stdout,
            stderr=outcome.stderr,
        )
