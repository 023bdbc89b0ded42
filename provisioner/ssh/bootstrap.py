"""How the runner gets onto a host: a command line, and a program sent to its standard input."""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
import threading
import zlib
from pathlib import Path

import provisioner.remote

MIN_PYTHON = (3, 9)
KEPT_DIR = "/run/b9prov"  # on the host; gone with the next boot

# Compiles no module that an earlier run has left compiled on the host, as its own user alone may
# have written it; parses the sources only where one is missing. Bare of importlib, which would
# take longer than the rest.
_LOADER = """
import marshal, os, sys
class Program:
    def __init__(self, packed, kept):
        self.packed, self.sources, self.is_new = packed, None, False
        self.kept = f"{kept}-{sys.hexversion:x}"
        self.codes = self.read()
    def read(self):
        try:
            with open(self.kept, "rb") as file:
                about = os.fstat(file.fileno())
                if about.st_uid == os.geteuid() and not about.st_mode & 0o077:
                    return marshal.load(file)
        except (OSError, EOFError, TypeError, ValueError):
            pass
        return {}
    def compile(self, name):
        if self.sources is None:
            import json
            self.sources = json.loads(self.packed)
        if name in self.sources:
            is_package, source = self.sources[name]
            code = compile(source, "<b9prov " + name + ">", "exec", dont_inherit=True)
            self.codes[name], self.is_new = (is_package, code), True
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "provisioner":
            if name not in self.codes:
                self.compile(name)
            if name in self.codes:
                return type(sys.__spec__)(name, self, is_package=self.codes[name][0])
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(self.codes[module.__name__][1], module.__dict__)
program = Program(packed, kept)
sys.meta_path.insert(0, program)
sys.dont_write_bytecode = True
from provisioner.remote.runner import main
main(program)
"""

# Reads lines until the one that announces the program: a password that sudo did not want comes
# first. Reads unbuffered, so that nothing of the frames behind the program is swallowed.
_STUB = """
import os,sys
if sys.version_info<(3,9): sys.exit("b9prov: python3 is %d.%d, at least 3.9 is needed"%sys.version_info[:2])
def r(n):
    b=b""
    while len(b)<n:
        c=os.read(0,n-len(b))
        if not c: sys.exit(0)
        b+=c
    return b
l=b""
while not l.startswith(b"B9BOOT "):
    l=b""
    while l[-1:]!=b"\\n": l+=r(1)
import zlib
code,kept,packed=zlib.decompress(r(int(l[7:]))).split(b"\\0",2)
exec(code,{"packed":packed,"kept":kept.decode()})
""".strip()  # noqa: E501


_making = threading.Lock()


def program() -> bytes:
    """The announced, compressed program: a loader, and the source of `provisioner.remote`."""
    with _making:  # many conversations begin at once, and one is to make it
        return _program()


@functools.lru_cache(maxsize=1)
def _program() -> bytes:
    root = Path(provisioner.remote.__file__).parent
    sources: dict[str, tuple[bool, str]] = {"provisioner": (True, "")}
    for file in sorted(root.rglob("*.py")):
        parts = ["provisioner", "remote", *file.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources[name] = (is_package, file.read_text(encoding="utf-8"))
    packed = json.dumps(sources)
    kept = f"{KEPT_DIR}/runner-{hashlib.sha256(packed.encode()).hexdigest()[:16]}"
    body = zlib.compress("\0".join([_LOADER, kept, packed]).encode(), 6)
    return b"B9BOOT %d\n" % len(body) + body


def command(become_user: str | None, with_password: bool) -> str:
    """The shell command that starts the stub as `become_user` (None: as the login user)."""
    # -I: nothing in the login user's folder or environment is imported, by root at that
    python = f"python3 -I -c {shlex.quote(_STUB)}"
    find = (
        "command -v python3 >/dev/null 2>&1 || "
        "{ echo 'b9prov: python3 is not installed' >&2; exit 127; }; "
    )
    if become_user is None:
        return find + f"exec {python}"
    how = "-S -p ''" if with_password else "-n"
    sudo = f"exec sudo {how} -H -u {shlex.quote(become_user)} -- {python}"
    if become_user == "root":
        return find + f'if [ "$(id -u)" = 0 ]; then exec {python}; else {sudo}; fi'
    return find + sudo
