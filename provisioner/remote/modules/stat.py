"""Says what a path is. Ansible's `stat`: path, follow, get_checksum, checksum_algorithm."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
ARGUMENTS = {
    "path": Argument("str", required=True, aliases=("dest", "name")),
    "follow": Argument("bool", default=False),
    "get_checksum": Argument("bool", default=True),
    "checksum_algorithm": Argument(
        "str", default="sha1", choices=ALGORITHMS, aliases=("checksum", "checksum_algo")
    ),
    "get_mime": Argument("bool", default=False),
    "get_attributes": Argument("bool", default=False),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return `stat` with Ansible's fields; a path that does not exist is no failure."""
    path = files.expand(arguments["path"])
    try:
        found = os.stat(path) if arguments["follow"] else os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"changed": False, "stat": {"exists": False}}
    except OSError as error:
        raise ModuleFailed(f"{path}: {error.strerror}") from None
    facts = {"exists": True, "path": path, **_of(found)}
    for name, how in (("readable", os.R_OK), ("writeable", os.W_OK), ("executable", os.X_OK)):
        facts[name] = os.access(path, how)
    if facts["islnk"]:
        facts.update(lnk_source=os.path.realpath(path), lnk_target=os.readlink(path))
    if facts["isreg"] and arguments["get_checksum"] and facts["readable"]:
        facts["checksum"] = files.digest(path, arguments["checksum_algorithm"])
    return {"changed": False, "stat": facts}


def _of(found: os.stat_result) -> dict[str, Any]:
    mode = found.st_mode
    facts: dict[str, Any] = {
        "mode": files.octal(mode),
        "isdir": stat.S_ISDIR(mode),
        "ischr": stat.S_ISCHR(mode),
        "isblk": stat.S_ISBLK(mode),
        "isreg": stat.S_ISREG(mode),
        "isfifo": stat.S_ISFIFO(mode),
        "islnk": stat.S_ISLNK(mode),
        "issock": stat.S_ISSOCK(mode),
        "isuid": bool(mode & stat.S_ISUID),
        "isgid": bool(mode & stat.S_ISGID),
        "inode": found.st_ino,
        "dev": found.st_dev,
        "nlink": found.st_nlink,
    }
    for name in ("uid", "gid", "size", "atime", "mtime", "ctime"):
        facts[name] = getattr(found, f"st_{name}")
    for who in ("USR", "GRP", "OTH"):
        for letter in "RWX":
            facts[f"{letter}{who}".lower()] = bool(mode & getattr(stat, f"S_I{letter}{who}"))
    try:
        facts["pw_name"] = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        facts["pw_name"] = None
    try:
        facts["gr_name"] = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        facts["gr_name"] = None
    return facts
