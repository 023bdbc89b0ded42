"""`b9prov artifacts`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner.artifacts import online, vendor
from provisioner.artifacts.folder import Folder, Found, NotFetched
from provisioner.artifacts.lock import FILE, Entry, Lock, load_lock, shipped_lock
from provisioner.artifacts.mirror import PORT, Mirror
from provisioner.artifacts.needs import Need, needs
from provisioner.cli.bytebar import byte_progress
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import EXTRA_VARS, PATH, Request
from provisioner.cli.sources import extra_variables, found_inventory, open_inventory
from provisioner.errors import BadInput
from provisioner.inventory import fields
from provisioner.inventory.schema import Settings
from provisioner.inventory.sections import values
from provisioner.paths import DEFAULT_INVENTORY

_ARCHITECTURES = ("amd64", "arm64")
_DIR = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    help="The directory of files.",
)
_ARCH = click.option(
    "--arch",
    "architectures",
    type=click.Choice(_ARCHITECTURES),
    multiple=True,
    default=("amd64",),
    show_default=True,
    help="For machines of this kind. May be repeated.",
)


@click.group(short_help="Pin, fetch, verify and serve the big files that `up` installs.")
def artifacts() -> None:
    """The big files that `up` installs: Ollama, k3s and its images, each pinned by its SHA-256.

    A directory that `fetch` filled serves a site without internet: as the inventory's
    artifacts.dir on each host, artifacts.push_dir on this machine, or behind `mirror`.
    """


@artifacts.command()
@_DIR
@_ARCH
@click.option(
    "--inventory",
    type=PATH,
    help="Whose versions to fetch. By default ./inventory.yaml; without one, our own versions.",
)
@EXTRA_VARS
def fetch(
    directory: Path,
    architectures: tuple[str, ...],
    inventory: Path | None,
    extra_vars: tuple[str, ...],
) -> int:
    """Download what an inventory's versions need; what was begun is continued.

    Each file comes from the first source that has it: the inventory's mirrors, then the vendor. One
    with another hash than the lock's is refused.
    """
    wanted = needs(_variables(inventory, extra_vars), architectures)
    entries = [_pinned(need) for need in wanted]
    folder, failed = Folder(directory), 0
    for need, entry in zip(wanted, entries, strict=True):
        failed += not _fetch(folder, entry, list(need.sources))
    return FAILED if failed else 0


def _fetch(folder: Folder, entry: Entry, sources: list[str]) -> bool:
    try:
        with byte_progress() as progress:
            fetched = folder.fetch(entry, sources, progress)
    except NotFetched as error:
        say(f"error: {error} ({error.advice})")
        return False
    for refusal in fetched.refusals:
        say(f"warning: {entry}: {refusal['source']}: {refusal['reason']}")
    folder.note([replace(entry, size=(folder.path / entry.path).stat().st_size)])
    how = f"{_shown(fetched.loaded)} from {fetched.source}" if fetched.source else "is there"
    click.echo(f"{entry}: {folder.path / entry.path}, {how}")
    return True


def _variables(inventory: Path | None, extra_vars: tuple[str, ...]) -> list[dict[str, Any]]:
    """The variables of the inventory's hosts, or those of a host that says nothing."""
    if found_inventory(inventory) is None:
        say(f"there is no {DEFAULT_INVENTORY} here: fetching the versions that are the default")
        return [values(Settings, {})]
    request = Request(inventory=inventory, extra_vars=extra_vars)
    hosts = open_inventory(request, extra_variables(request)).hosts
    return [host.variables for host in hosts.values()]


def _pinned(need: Need) -> Entry:
    if need.entry is None:
        advice = f"b9prov artifacts update --name {need.name} --version {need.version}"
        if need.arch != "amd64":
            advice += f" --arch {need.arch}"
        raise BadInput.of(
            f"no SHA-256 is known for {need.name} {need.version} ({need.arch})",
            advice=f"{advice}, and name what it writes as artifacts.lock",
        )
    return need.entry


@artifacts.command()
@_DIR
@click.option(
    "--online", is_flag=True, help="Instead, compare the lock with what the vendors publish."
)
@click.option("--lock", type=PATH, help="A lock of your own. For --online; by default, ours.")
def verify(directory: Path, online: bool, lock: Path | None) -> int:
    """Hash every file of a directory; name what is missing, wrong or superfluous.

    What belongs into it is said by the artifacts.lock.yaml that `fetch` keeps there.
    """
    if online:
        return _compare(load_lock(lock) if lock else shipped_lock())
    folder = Folder(directory)
    if not (directory / FILE).exists():
        raise BadInput.of(f"no {FILE} in {directory}", advice="b9prov artifacts fetch fills it")
    with byte_progress() as progress:
        found = folder.look(folder.lock, progress)
    return _report(found, directory)


def _report(found: Found, directory: Path) -> int:
    for entry in found.right:
        click.echo(f"{entry}: {directory / entry.path} is right")
    for entry, is_ in found.wrong:
        say(f"wrong: {directory / entry.path}: its SHA-256 is {is_}, not {entry.sha256}")
    for entry in found.missing:
        say(f"missing: {directory / entry.path} ({entry})")
    for file in found.superfluous:
        say(f"superfluous: {file}")
    return 0 if found.is_whole else FAILED


def _compare(lock: Lock) -> int:
    """Each entry beside the hash that its vendor publishes."""
    failed = 0
    for entry in lock:
        try:
            says = online.published(entry)
        except online.VendorFailed as error:
            say(f"unknown: {entry}: {error}")
            failed += 1
            continue
        if says is None:
            click.echo(f"{entry}: the vendor publishes no hash")
        elif says == entry.sha256:
            click.echo(f"{entry}: as the vendor says")
        else:
            say(f"wrong: {entry}: the vendor says {says}, the lock {entry.sha256}")
            failed += 1
    return FAILED if failed else 0


@artifacts.command()
@_DIR
@click.option(
    "--bind",
    metavar="ADDRESS:PORT",
    default=f"127.0.0.1:{PORT}",
    show_default=True,
    help="Where to listen; others reach it at an address of this machine only.",
)
def mirror(directory: Path, bind: str) -> int:
    """Serve a directory over HTTP, until Ctrl-C; hosts name it as artifacts.mirror."""
    address, _, port = bind.rpartition(":")
    address = address.strip("[]")
    if not fields.is_ip(address) or not fields.is_port(port):
        raise BadInput.of(f"--bind: {bind!r} is no address and port", advice="0.0.0.0:8099, say")
    if not directory.is_dir():
        raise BadInput.of(f"no such directory: {directory}", advice="b9prov artifacts fetch")
    try:
        server = Mirror(str(directory), address, int(port))
    except OSError as error:
        raise BadInput.of(f"--bind: can't listen at {bind}: {error.strerror}") from None
    with server:
        say(f"serving {directory} at http://{bind}/ (Ctrl-C ends it)")
        server.serve_forever()
    return 0


@artifacts.command()
@click.option(
    "--name", type=click.Choice(list(vendor.VENDORS)), required=True, help="Which file to pin."
)
@click.option("--version", required=True, help="Its release, as the inventory has it.")
@_ARCH
@click.option("--lock", type=PATH, default=Path(FILE), show_default=True, help="Your lock.")
@click.option("--url", help="Where to get it. By default: from the vendor.")
@click.option("--sha256", help="What its hash has to be.")
def update(
    name: str,
    version: str,
    architectures: tuple[str, ...],
    lock: Path,
    url: str | None,
    sha256: str | None,
) -> int:
    """Pin a version in a lock of your own, which the inventory names as artifacts.lock.

    The file is loaded, hashed, and compared with the hash that the vendor publishes, if any. --url
    and --sha256 are for one --arch.
    """
    if (url or sha256) and len(architectures) > 1:
        raise click.UsageError("--url and --sha256 are for one --arch")
    for option, kind, value in (
        ("--version", fields.PLAIN, version),
        ("--url", fields.URL, url),
        ("--sha256", fields.SHA256, sha256),
    ):
        _refuse_unfit(option, kind, value)
    known = load_lock(lock) if lock.exists() else Lock()
    for arch in architectures:
        entry = vendor.entry(name, version, arch, "", url=url or "")
        known = known.with_entry(_looked_at(entry, (sha256 or "").lower()))
        known.write(lock)
    return 0


def _refuse_unfit(option: str, kind: fields.Check, value: str | None) -> None:
    try:
        if value is not None:
            kind(value)
    except fields.Unfit as unfit:
        raise BadInput.of(f"{option}: {unfit.message}, got {value!r}") from None


def _looked_at(entry: Entry, expected: str) -> Entry:
    """The entry with the hash and the size that the file has. Raises VendorFailed."""
    says = online.published(entry) if not expected else None
    with byte_progress() as progress:
        seen = online.seen(entry, progress)
    for who, hashed in (("you say", expected), ("the vendor publishes", says)):
        if hashed and hashed != seen.sha256:
            raise online.VendorFailed(
                f"{entry.url}: its SHA-256 is {seen.sha256}, and {who} {hashed}",
                "nothing was written: find out which of them is wrong",
            )
    proof = "as you say" if expected else "as the vendor publishes" if says else "seen just now"
    click.echo(f"{entry}: {seen.sha256}, {_shown(seen.size)}, {proof}")
    return replace(entry, sha256=seen.sha256, size=seen.size)


def _shown(count: int) -> str:
    """A number of bytes for people."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
