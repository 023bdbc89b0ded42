"""A zip archive as a tree of files below a folder: what of it differs, and putting that right."""

from __future__ import annotations

import binascii
import contextlib
import fnmatch
import os
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

from provisioner.remote import files, process
from provisioner.remote.module import ModuleFailed

_UNIX = 3
_IS_UTF8 = 0x800
_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class ZipTree:
    """A zip archive; only what differs is written, and every file appears complete."""

    handler = "ZipArchive"

    def __init__(self, path: Path, dest: Path, arguments: dict[str, Any]) -> None:
        self.path, self.dest, self.arguments = path, dest, arguments
        try:
            with zipfile.ZipFile(path) as packed:
                self.entries = [info for info in packed.infolist() if self._is_wanted(info)]
        except zipfile.BadZipFile as error:
            raise ModuleFailed(f"the archive is damaged: {error}") from None
        for pattern in arguments["include"]:
            if not fnmatch.filter(self.names(), pattern):
                raise ModuleFailed(f"filename not matched: {pattern}")
        self.links = {_name(info) for info in self.entries if _is_link(info)}
        self.different = [info for info in self.entries if self._differs(info)]

    def names(self) -> list[str]:
        """The members that are wanted."""
        return [_name(info) for info in self.entries]

    def is_unpacked(self) -> bool:
        """Whether all of them are there, alike."""
        return not self.different

    def unpack(self) -> dict[str, Any]:
        """Write what differs; returns `rc, out, err` as unzip would."""
        if self.arguments["extra_opts"]:
            return self._unzip()
        try:
            with zipfile.ZipFile(self.path) as packed:
                # links last: nothing is written through one
                for info in sorted(self.different, key=_is_link):
                    self._place(packed, info)
                folders = [info for info in self.different if info.is_dir()]
                for info in sorted(folders, key=_name, reverse=True):
                    self._finish(self.dest / _name(info), info)
        except _ERRORS as error:
            return {"rc": 1, "out": "", "err": str(error)}
        return {"rc": 0, "out": "", "err": ""}

    def _unzip(self) -> dict[str, Any]:
        program = shutil.which("unzip")
        if program is None:
            raise ModuleFailed("extra_opts for a zip archive need unzip on the host")
        command = [program, "-o", *map(str, self.arguments["extra_opts"]), str(self.path)]
        command += map(str, self.arguments["include"])
        if self.arguments["exclude"]:
            command += ["-x", *map(str, self.arguments["exclude"])]
        command += ["-d", str(self.dest)]
        outcome = process.run(command)
        return {"rc": outcome.rc, "out": outcome.stdout, "err": outcome.stderr}

    def _is_wanted(self, info: zipfile.ZipInfo) -> bool:
        def fits(patterns: Any) -> bool:
            return any(fnmatch.fnmatch(_name(info), str(pattern)) for pattern in patterns)

        if self.arguments["include"]:
            return fits(self.arguments["include"])
        return not fits(self.arguments["exclude"])

    def _differs(self, info: zipfile.ZipInfo) -> bool:
        parts = Path(_name(info)).parts
        through_link = any("/".join(parts[:depth]) in self.links for depth in range(1, len(parts)))
        if _name(info).startswith("/") or ".." in parts or through_link:
            raise ModuleFailed(f"{_name(info)} leads out of the folder")
        path = self.dest / _name(info)
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        if stat.S_IFMT(found.st_mode) != _kind(info):
            return True
        if _is_link(info):
            return not self._is_owned(found)
        if not info.is_dir():
            date = _date(info)
            if self.arguments["keep_newer"] and found.st_mtime > date:
                return False
            if found.st_mtime != date or found.st_size != info.file_size:
                return True
            if _crc32(path) != info.CRC:
                return True
        asked = self.arguments["mode"]
        mode = files.parse_mode(asked, found.st_mode, info.is_dir()) if asked else _mode(info)
        return stat.S_IMODE(found.st_mode) != mode or not self._is_owned(found)

    def _owners(self) -> tuple[int, int]:
        owner, group = self.arguments["owner"], self.arguments["group"]
        uid = files.uid_of(owner) if owner else os.geteuid()
        return uid, files.gid_of(group) if group else os.getegid()

    def _is_owned(self, found: os.stat_result) -> bool:
        return (found.st_uid, found.st_gid) == self._owners()

    def _place(self, packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        path = self.dest / _name(info)
        if info.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".b9prov.", dir=path.parent) as folder:
            temporary = Path(folder, "content")
            if _is_link(info):
                temporary.symlink_to(os.fsdecode(packed.read(info)))
            else:
                with packed.open(info) as content, open(temporary, "wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
            self._finish(temporary, info)
            temporary.replace(path)

    def _finish(self, path: Path, info: zipfile.ZipInfo) -> None:
        """Give owner, mode and date; the mode asked for comes later, to all alike."""
        os.chown(path, *self._owners(), follow_symlinks=False)
        if not _is_link(info):
            path.chmod(_mode(info))
            os.utime(path, (_date(info), _date(info)))


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name: Unix wrote its bytes as they were, and doesn't always mark UTF-8."""
    if info.create_system != _UNIX or info.flag_bits & _IS_UTF8:
        return info.filename
    return os.fsdecode(info.filename.encode("cp437"))


def _kind(info: zipfile.ZipInfo) -> int:
    if info.is_dir():
        return stat.S_IFDIR
    return stat.S_IFLNK if _is_link(info) else stat.S_IFREG


def _is_link(info: zipfile.ZipInfo) -> bool:
    return info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16)


def _mode(info: zipfile.ZipInfo) -> int:
    """As unzip has it: no set-user-ID, and the umask only where the archive has no mode."""
    mode = info.external_attr >> 16 & 0o777
    return mode or (0o777 if info.is_dir() else 0o666) & ~files.umask()


def _date(info: zipfile.ZipInfo) -> float:
    """When the member was changed: to the second where Unix wrote it, else in local time."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == 0x5455 and size >= 5 and extra[4] & 1:
            return float(struct.unpack("<i", extra[5:9])[0])
        extra = extra[4 + size :]
    with contextlib.suppress(ValueError, OverflowError):
        return time.mktime((*info.date_time, 0, 0, -1))
    return time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))


def _crc32(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            crc = binascii.crc32(block, crc)
    return crc
