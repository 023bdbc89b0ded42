"""Facts of processor, memory, mounts, disks and firmware, from /proc and /sys."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

_DMI = (
    "bios_date bios_vendor bios_version board_asset_tag board_name board_serial board_vendor "
    "board_version chassis_asset_tag chassis_serial chassis_vendor chassis_version product_name "
    "product_serial product_uuid product_version"
).split()
_LINKS = (("ids", "by-id"), ("labels", "by-label"), ("uuids", "by-uuid"))
_NO_DISKS = ("ram", "loop")
_UNITS = ("Bytes", "KB", "MB", "GB", "TB", "PB")


def read(path: str | Path) -> str:
    """A small file's text; empty when there is none, or none that we may read."""
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def processor() -> Facts:
    """Counts, and the model of each, from the first entry of /proc/cpuinfo: the whole of it
    takes long on big machines, and says the same hundreds of times."""
    threads = os.cpu_count() or 1
    with open("/proc/cpuinfo", "rb", buffering=0) as file:
        first = file.read(4096).decode("utf-8", "replace").partition("\n\n")[0]
    entry = dict(re.findall(r"^(.+?)\s*: (.*)$", first, re.MULTILINE))
    siblings, cores = int(entry.get("siblings", 1)), int(entry.get("cpu cores", 1))
    model = [entry[name] for name in ("vendor_id", "model name") if name in entry]
    return {
        "processor": [word for number in range(threads) for word in (str(number), *model)],
        "processor_count": max(threads // siblings, 1),
        "processor_cores": cores,
        "processor_threads_per_core": max(siblings // cores, 1),
        "processor_vcpus": threads,
        "processor_nproc": len(os.sched_getaffinity(0)),
    }


def memory() -> Facts:
    """In MiB."""
    found = {}
    for line in read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) // 1024
    total, free = found["MemTotal"], found["MemFree"]
    unused = free + found.get("Cached", 0) + found.get("Buffers", 0)
    swap, swap_free = found.get("SwapTotal", 0), found.get("SwapFree", 0)
    return {
        "memtotal_mb": total,
        "memfree_mb": free,
        "memavailable_mb": found.get("MemAvailable", free),
        "swaptotal_mb": swap,
        "swapfree_mb": swap_free,
        "memory_mb": {
            "real": {"total": total, "used": total - free, "free": free},
            "nocache": {"free": unused, "used": total - unused},
            "swap": {
                "total": swap,
                "free": swap_free,
                "used": swap - swap_free,
                "cached": found.get("SwapCached", 0),
            },
        },
    }


def mounts() -> Facts:
    """What is mounted from a disk or a server, the latter without sizes: it may hang."""
    uuids = {name: ids[0] for name, ids in _named_links("by-uuid").items()}
    found = []
    for line in read("/proc/self/mounts").splitlines():
        device, mount, kind, options, dump, order = (_plain(word) for word in line.split(" "))
        if (not device.startswith("/") and ":/" not in device) or kind == "none":
            continue
        entry: Facts = {"mount": mount, "device": device, "fstype": kind, "options": options}
        entry.update(dump=int(dump), passno=int(order))
        entry["uuid"] = uuids.get(os.path.basename(os.path.realpath(device)), "N/A")
        if device.startswith("/") and not device.startswith("//"):
            with contextlib.suppress(OSError):
                entry.update(_sizes(mount))
        found.append(entry)
    return {"mounts": found}


def _plain(word: str) -> str:
    r"""A word of the mount table, in which a blank is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _sizes(mount: str) -> Facts:
    disk = os.statvfs(mount)
    return {
        "size_total": disk.f_frsize * disk.f_blocks,
        "size_available": disk.f_frsize * disk.f_bavail,
        "block_size": disk.f_bsize,
        "block_total": disk.f_blocks,
        "block_available": disk.f_bavail,
        "block_used": disk.f_blocks - disk.f_bavail,
        "inode_total": disk.f_files,
        "inode_available": disk.f_favail,
        "inode_used": disk.f_files - disk.f_favail,
    }


def firmware() -> Facts:
    """What the maker wrote into it; "NA" where there is nothing, or only for root."""
    files = {**{name: name for name in _DMI}, "system_vendor": "sys_vendor"}
    return {fact: read(f"/sys/class/dmi/id/{file}") or "NA" for fact, file in files.items()}


def devices() -> Facts:
    """Disks and their partitions, without those that are files or memory."""
    links = {kind: _named_links(folder) for kind, folder in _LINKS}
    found = {}
    for path in Path("/sys/block").iterdir():
        if not path.name.startswith(_NO_DISKS):
            found[path.name] = _disk(path, links)
    return {"devices": found}


def _named_links(folder: str) -> dict[str, list[str]]:
    """The names that udev has for each device, sorted."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(f"/dev/disk/{folder}")):
            with contextlib.suppress(OSError):
                target = os.path.basename(os.readlink(f"/dev/disk/{folder}/{name}"))
                found.setdefault(target, []).append(name)
    return found


def _disk(path: Path, links: dict[str, dict[str, list[str]]]) -> Facts:
    size = int(read(path / "queue/logical_block_size") or 512)
    discards = read(path / "queue/discard_max_hw_bytes") != "0"
    scheduler = re.search(r"\[(.*?)\]", read(path / "queue/scheduler"))
    return {
        **_extent(path, size, links),
        "virtual": 1,
        "host": "",
        "vendor": read(path / "device/vendor") or None,
        "model": read(path / "device/model") or None,
        "serial": read(path / "device/serial") or None,
        "removable": read(path / "removable"),
        "rotational": read(path / "queue/rotational"),
        "support_discard": read(path / "queue/discard_granularity") if discards else "0",
        "scheduler_mode": scheduler[1] if scheduler else "",
        "partitions": {
            part.parent.name: _partition(part.parent, size, links)
            for part in sorted(path.glob("*/partition"))
        },
    }


def _partition(path: Path, size: int, links: dict[str, dict[str, list[str]]]) -> Facts:
    uuid = next(iter(links["uuids"].get(path.name, [])), None)
    return {**_extent(path, size, links), "start": read(path / "start"), "uuid": uuid}


def _extent(path: Path, size: int, links: dict[str, dict[str, list[str]]]) -> Facts:
    total = int(read(path / "size") or 0) * 512  # whatever the sectors' size is
    own = {kind: names.get(path.name, []) for kind, names in links.items()}
    return {
        "sectors": total // size,
        "sectorsize": str(size),
        "size": human(total),
        "holders": sorted(os.listdir(path / "holders")),
        "links": {**own, "masters": sorted(os.listdir(path / "holders"))},
    }


def human(size: float) -> str:
    """1536 → "1.50 KB", in powers of 1024 as Ansible has it."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.2f} {_UNITS[power]}"
