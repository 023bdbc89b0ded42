"""From a recorded run to one script per host that does the same, with all that is known written in.

Addresses, keys and every file's content are in the scripts. What each run makes anew (machines at
the gateway, the token of k3s) stands as `@WORKER_NAME@` and is filled in once it is known.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recorder import Recorded
from provisioner.inventory import GATEWAY
from provisioner.remote.modules.tunnel_slot import key_line, permitted, public_key

PRELUDE = (Path(__file__).parent / "prelude.py").read_text()
KEYS_FILE = "/etc/b9prov/authorized_keys"
SLOTS_FILE = "/var/lib/b9prov/slots.json"

_TELL = "print(json.dumps(KNOWN))\n"

ReadFile = Callable[[str, str], str]
Translator = Callable[[Recorded], Iterator[str]]


@dataclass(frozen=True)
class Scripts:
    """`gateway` comes first and makes the workers' machines; `verify`, there as well, comes last.

    Without a gateway both are empty."""

    workers: dict[str, str]
    gateway: str
    verify: str


def prepare(tape: list[Recorded], read_file: ReadFile) -> Scripts:
    """Scripts for all hosts of a recorded run; `read_file(host, path)` reads one of their files."""
    own: dict[str, list[str]] = {}
    first: list[str] = []
    verify: list[str] = []
    registered: set[str] = set()
    for each in tape:
        calls = _masked(_translate(each, read_file), _made_anew(tape, each.origin), each.origin)
        if each.host != GATEWAY:
            own.setdefault(each.host, []).extend(calls)
        elif each.origin in registered:
            verify += calls
        else:
            first += calls
        if each.module == "machine":
            registered.add(
                each.origin
            )  # what comes now on the gateway host is about a running worker
    first += _slots([each for each in tape if each.module == "tunnel_slot"])
    return Scripts(
        workers={name: _script(calls) for name, calls in own.items()},
        gateway=_script(first) if first else "",
        verify=_script(verify) if verify else "",
    )


def _script(calls: list[str]) -> str:
    return "\n".join([PRELUDE, "KNOWN.update(json.loads(@KNOWN@))", *calls, _TELL])


def _masked(calls: Iterator[str], made: dict[str, str], worker: str) -> Iterator[str]:
    """The calls with names for what every run makes anew for the worker."""
    for call in calls:
        for name, value in made.items():
            call = call.replace(value, f"@{worker}_{name}@")
        yield call


def with_known(script: str, known: dict[str, Any]) -> str:
    """The script with what is known by now."""
    return script.replace("@KNOWN@", repr(json.dumps(known)), 1)


def _made_anew(tape: list[Recorded], worker: str) -> dict[str, str]:
    """Names and values of what the recorded run made for the worker."""
    made = {}
    for each in tape:
        if each.origin == worker and each.module == "machine":
            made["machine_id"] = each.result["machine_id"]
            made["machine_token"] = each.result["machine_token"]
        elif each.origin == worker and _words(each)[:2] == ["k3s", "kubectl"]:
            token = json.loads(each.result["stdout"])["data"]["token"]
            made["k3s_token"] = base64.b64decode(token).decode()
    return made


def _translate(each: Recorded, read_file: ReadFile) -> Iterator[str]:
    if each.module in _TRANSLATORS:
        yield from _TRANSLATORS[each.module](each)
    elif each.module == "command" and _words(each)[0] == "ssh-keygen":
        yield from _key(each, read_file)
    elif each.module in ("command", "shell"):
        yield from _command(each)
    else:
        raise SystemExit(f"prepared.py does not know how a script does {each.module}")


def _call(name: str, *arguments: Any, **options: Any) -> str:
    """A line of a script."""
    words = [repr(value) for value in arguments]
    words += [f"{key}={value!r}" for key, value in options.items() if value is not None]
    return f"{name}({', '.join(words)})"


def _words(each: Recorded) -> list[str]:
    if each.module == "shell":
        return ["sh", "-c", str(each.arguments["cmd"])]
    if each.module != "command":
        return []
    argv = each.arguments["argv"] or shlex.split(each.arguments["cmd"])
    return [str(word) for word in argv]


def _command(each: Recorded) -> Iterator[str]:
    words = _words(each)
    if words[:2] == ["k3s", "kubectl"]:
        yield _call("k3s_token", f"{each.origin}_k3s_token", words)
    elif words[:2] == ["b9agent", "status"]:
        yield _call("agent_ready", words)
    else:
        yield _call("command", words, creates=each.arguments["creates"])


def _key(each: Recorded, read_file: ReadFile) -> Iterator[str]:
    # the gateway's script goes first, so that it has to know the key: it is a prepared one
    private = _words(each)[-1]
    for path, mode in ((private, "0600"), (private + ".pub", "0644")):
        yield _call("write", path, read_file(each.host, path), mode)


def _file(each: Recorded) -> Iterator[str]:
    if each.arguments["state"] != "directory":
        raise SystemExit(f"prepared.py knows only directories, not {each.arguments['state']}")
    yield _call("directory", each.arguments["path"], **_attributes(each))


def _copy(each: Recorded) -> Iterator[str]:
    content: str | bytes = each.arguments["content"]
    if content is None:
        blob = each.blobs[each.arguments["sha256"]]
        content = base64.b64encode(blob if isinstance(blob, bytes) else blob.read_bytes())
    options = {
        "validate": each.arguments["validate"],
        "force": None if each.arguments["force"] else False,
    }
    plain = content if isinstance(content, bytes) else str(content)
    yield _call("write", each.arguments["dest"], plain, **_attributes(each), **options)


def _attributes(each: Recorded) -> dict[str, Any]:
    return {name: each.arguments[name] for name in ("mode", "owner", "group")}


def _line(each: Recorded) -> Iterator[str]:
    first = each.arguments["insertbefore"] == "BOF" or None
    yield _call("line", each.arguments["path"], each.arguments["line"], first=first)


def _user(each: Recorded) -> Iterator[str]:
    given = each.arguments
    options = ["--system"] if given["system"] else []
    options.append("--create-home" if given["create_home"] else "--no-create-home")
    for option, name in (("--shell", "shell"), ("--home-dir", "home")):
        options += [option, given[name]] if given[name] else []
    yield _call("user", given["name"], *options)


def _artifact(each: Recorded) -> Iterator[str]:
    given = each.arguments
    unpack = True if given["extract"] != "none" else None
    urls = [source for source in given["sources"] if "://" in source]
    yield _call(
        "artifact", urls[0], given["sha256"], given["dest"], mode=given["mode"], unpack=unpack
    )


def _unit(each: Recorded) -> Iterator[str]:
    yield _call("unit", each.arguments["name"], list(each.arguments["files"]))


def _systemd(each: Recorded) -> Iterator[str]:
    name = "reload" if each.arguments["state"] == "reloaded" else "unit"
    yield _call(name, each.arguments["name"])


def _uri(each: Recorded) -> Iterator[str]:
    given = each.arguments
    headers = [f"{name}: {value}" for name, value in (given["headers"] or {}).items()]
    if "/gateway/machines?" in given["url"] and "limit=1000" in given["url"]:
        machine_id = f"@{each.origin}_machine_id@"
        yield _call("machine_ready", machine_id, given["url"], headers)
        return
    body = given["body"]
    if given["body_format"] == "json":
        headers.append("Content-Type: application/json")
        body = body if isinstance(body, str) else json.dumps(body)
    wanted = str(given["status_code"][0])
    yield _call("answers", given["url"], wanted, headers, given["method"], body)


def _machine(each: Recorded) -> Iterator[str]:
    given = each.arguments
    yield _call("machine", given["worker"], given["api"], given["pool"], str(given["admin_token"]))


def _preflight(each: Recorded) -> Iterator[str]:
    given = each.arguments
    ports = [(port["port"], port.get("units", [])) for port in given["ports"]]
    disk = int(given["min_disk_mib"]["/"])
    yield _call(
        "preflight", given["commands"], disk, given["min_memory_mib"], ports, given["reach"]
    )


def _slot(each: Recorded) -> Iterator[str]:
    yield _call("slot", each.result["address"])


def _slots(slots: list[Recorded]) -> list[str]:
    """The two files of all workers' slots."""
    if not slots:
        return []
    lines, state = "", {}
    for each in slots:
        worker, address = each.arguments["worker"], each.result["address"]
        key = public_key(each.arguments["public_key"])
        lines += key_line(worker, key, address, permitted(each.arguments["permit_open"])) + "\n"
        state[worker] = {"address": address, "key": key}
    return [
        _call("write", SLOTS_FILE, json.dumps({"slots": state}), "0644"),
        _call("write", KEYS_FILE, lines, "0644"),
    ]


def _nothing(each: Recorded) -> Iterator[str]:
    # reads what the prepared script has written in
    yield from ()


_TRANSLATORS: dict[str, Translator] = {
    "copy": _copy,
    "file": _file,
    "get_artifact": _artifact,
    "lineinfile": _line,
    "machine": _machine,
    "preflight": _preflight,
    "slurp": _nothing,
    "systemd": _systemd,
    "tunnel_slot": _slot,
    "unit": _unit,
    "uri": _uri,
    "user": _user,
}
