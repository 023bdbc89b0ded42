"""Unpacks an archive. Ansible's `unarchive`: src, dest, remote_src, creates, include, exclude…

`src` is a path or, with `remote_src`, a URL; what the controller sends is a blob named by its
`sha256`. Tar archives are left to GNU tar, with its options in `extra_opts`; zip archives need
no program unless they have `extra_opts`, which are unzip's.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

from provisioner.remote import files, process, web
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.ziptree import ZipTree

ARGUMENTS = {
    "src": Argument("str"),
    "dest": Argument("str", required=True),
    "remote_src": Argument("bool", default=False),
    "copy": Argument("bool"),
    "sha256": Argument("str"),
    "_original_basename": Argument("str"),
    "creates": Argument("str"),
    "list_files": Argument("bool", default=False),
    "exclude": Argument("list", default=()),
    "include": Argument("list", default=()),
    "keep_newer": Argument("bool", default=False),
    "extra_opts": Argument("list", default=()),
    "validate_certs": Argument("bool", default=True),
    **files.ATTRIBUTES,
}

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gzip"),
    b"BZh": ("bzip2", "bz2"),
    b"\xfd7zXZ": ("xz", "lzma"),
    b"\x28\xb5\x2f\xfd": ("zstd", ""),
}
"""By its first bytes: the program that tar needs for it, and what Python has in its stead."""

_DIFFERENCES = (
    ": Mod time differs",
    ": Size differs",
    ": Contents differ",
    ": Symlink differs",
    ": File type differs",
    ": No such file or directory",
)


class _Archive(Protocol):
    """What `run` asks of an archive of either kind; `handler` is Ansible's name of it."""

    handler: str

    def names(self) -> list[str]: ...

    def is_unpacked(self) -> bool: ...

    def unpack(self) -> dict[str, Any]: ...


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Unpack what is not in `dest` yet, or is there but different."""
    if arguments["include"] and arguments["exclude"]:
        raise ModuleFailed("parameters are mutually exclusive: include|exclude")
    creates, dest = arguments["creates"], Path(files.expand(arguments["dest"]))
    if creates and os.path.exists(files.expand(creates)):
        msg = f"skipped, since {creates} exists"
        return {"changed": False, "skipped": True, "msg": msg}
    if not dest.is_dir():
        raise ModuleFailed(f"dest '{dest}' must be an existing dir")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(_scratch()))
        source = _source(arguments, scratch, context)
        if not zipfile.is_zipfile(source) or _is_tar(source):
            if context.check:
                msg = "remote module (unarchive) does not support check mode when using gtar"
                return {"changed": False, "skipped": True, "msg": msg}
            archive: _Archive = _Tar(source, dest, scratch, arguments)
        else:
            archive = ZipTree(source, dest, arguments)
        return _bring_about(archive, dest, source, arguments, context)


def _bring_about(
    archive: _Archive, dest: Path, source: Path, arguments: dict[str, Any], context: Context
) -> Result:
    names = archive.names()
    result: Result = {"changed": not archive.is_unpacked(), "handler": archive.handler}
    result.update(dest=str(dest), src=str(source))
    if arguments["list_files"]:
        result["files"] = names
    if context.check:
        return {**result, **files.describe(dest)}
    if result["changed"]:
        outcome = archive.unpack()
        result["extract_results"] = outcome
        if outcome["rc"] != 0:
            msg = f"failed to unpack {source} to {dest}: {outcome['err'].strip()[-2000:]}"
            raise ModuleFailed(msg, **{**result, "changed": True})
    if any(arguments[name] for name in files.ATTRIBUTES):
        tops = {name.split("/")[0] for name in names if "/" in name}
        for name in [*names, *sorted(tops)]:
            with contextlib.suppress(FileNotFoundError):
                found = files.set_attributes(dest / name, arguments, check=False, follow=False)
                result["changed"] |= bool(found[1])
    return {**result, **files.describe(dest)}


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what may be big: /tmp may be in memory, and `dest` has to stay untouched."""
    large = "/var/tmp"  # noqa: S108 — mkdtemp makes its own folder in it
    return tempfile.TemporaryDirectory(
        prefix="b9prov-", dir=large if os.access(large, os.W_OK) else None
    )


def _source(arguments: dict[str, Any], scratch: Path, context: Context) -> Path:
    """The archive as a file of this host."""
    src, on_host = arguments["src"] or "", arguments["remote_src"] or arguments["copy"] is False
    if arguments["sha256"]:
        path = context.blob(arguments["sha256"].lower())
    elif not on_host:
        raise ModuleFailed(f"Source '{src}' failed to transfer")
    elif "://" in src:
        path = scratch / "download"
        answer = web.load(
            {"url": src, "validate_certs": arguments["validate_certs"]}, path, context
        )
        if (answer.status or 0) >= 300:
            raise ModuleFailed(f"Failure downloading {answer.url}, {answer.msg}")
    else:
        path = Path(os.path.abspath(files.expand(src)))
        if not path.exists():
            raise ModuleFailed(f"Source '{path}' does not exist")
    if path.is_dir():
        raise ModuleFailed(f"Source '{path}' is a directory")
    if path.stat().st_size == 0:
        raise ModuleFailed(f"Invalid archive '{path}', the file is 0 bytes")
    return path


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _is_tar(path: Path) -> bool:
    """A tar may end with a zip that is its last member, and so look like a zip from behind."""
    head = _head(path)
    return head[257:262] == b"ustar" or any(head.startswith(magic) for magic in _COMPRESSED)


class _Tar:
    """A tar archive, listed, compared and unpacked by GNU tar."""

    def __init__(self, path: Path, dest: Path, scratch: Path, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.dest = dest
        self.index = scratch / "index"
        program = shutil.which("gtar") or shutil.which("tar")
        if program is None:
            raise ModuleFailed("Unable to find required 'gtar' or 'tar' binary in the path")
        compressor, module = next(
            (pair for magic, pair in _COMPRESSED.items() if _head(path).startswith(magic)), ("", "")
        )
        self.handler = "TgzArchive" if compressor == "gzip" else "TarArchive"
        self.command = [program, "--force-local", f"--directory={dest}"]
        if compressor and not shutil.which(compressor):
            path = _decompress(path, scratch / "archive.tar", compressor, module)
        elif compressor == "zstd":  # only newer ones know it by themselves
            self.command.append("--use-compress-program=zstd")
        if arguments["extra_opts"]:
            self.command += ["--show-transformed-names", *map(str, arguments["extra_opts"])]
        self.command += [f"--exclude={str(name).rstrip('/')}" for name in arguments["exclude"]]
        self.operands = ["-f", str(path), *map(str, arguments["include"])]
        self.newer = ["--keep-newer-files"] if arguments["keep_newer"] else []

    def _run(self, *options: str) -> process.Outcome:
        argv = [*self.command, *options, *self.operands]
        return process.run(argv, cwd=str(self.dest), env={"LANGUAGE": "C"})

    def names(self) -> list[str]:
        outcome = self._run("--list", "--quoting-style=literal", f"--index-file={self.index}")
        if outcome.rc != 0:
            raise ModuleFailed(f"tar could not handle the archive: {outcome.said}")
        names = os.fsdecode(self.index.read_bytes()).splitlines()
        if not names:
            raise ModuleFailed("tar found no files in the archive; empty ones are not supported")
        return [name[1:] if name.startswith("/") else name for name in names]

    def is_unpacked(self) -> bool:
        """What the attributes asked for will change anyway makes no difference."""
        matters = list(_DIFFERENCES)
        if os.geteuid() == 0:
            matters += [] if self.arguments["owner"] else [": Uid differs"]
            matters += [] if self.arguments["group"] else [": Gid differs"]
        matters += [] if self.arguments["mode"] else [": Mode differs"]
        outcome = self._run("--diff", *self.newer)
        lines = outcome.stdout.splitlines() + outcome.stderr.splitlines()
        # a name that --strip-components left nothing of is no file that is missing
        found = [line for line in lines if line.endswith(tuple(matters)) and ": : " not in line]
        return not found

    def unpack(self) -> dict[str, Any]:
        outcome = self._run("--extract", *self.newer)
        return {"rc": outcome.rc, "out": outcome.stdout, "err": outcome.stderr}


def _decompress(path: Path, target: Path, program: str, module: str) -> Path:
    """The plain tar, made by Python where the program that tar would call is missing."""
    try:
        opener = importlib.import_module(module or f"no_{program}").open
    except ImportError:
        raise ModuleFailed(f"the archive can't be unpacked without {program}") from None
    try:
        with opener(path) as packed, open(target, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise ModuleFailed(f"the archive is damaged: {error}") from None
    return target
