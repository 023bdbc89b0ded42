#!/usr/bin/python3
"""The hosts' Python for Ansible: keeps what it compiled of Ansible's modules.

Each task brings the modules' sources in a zip file, of which Python itself keeps nothing; compiling
them is most of what a task costs. What runs is the same.
"""

import contextlib
import hashlib
import marshal
import os
import sys
import zipimport

CACHE = "/var/cache/oracle"

_compile = zipimport._compile_source


def _cached(path, source):
    """The code of a source, compiled at its first use."""
    known = os.path.join(CACHE, hashlib.sha256(source).hexdigest())
    with contextlib.suppress(OSError), open(known, "rb") as file:
        return marshal.load(file)
    code = _compile(path, source)
    half = f"{known}.{os.getpid()}"
    with open(half, "wb") as file:
        marshal.dump(code, file)
    os.replace(half, known)
    return code


def _main():
    """Run the file that is named, or stdin."""
    zipimport._compile_source = _cached
    sys.argv = sys.argv[1:] or [""]
    name = sys.argv[0] or "<stdin>"
    with open(sys.argv[0] or 0, "rb") as file:
        code = compile(file.read(), name, "exec")
    sys.path[0] = os.path.dirname(sys.argv[0])
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(code, {**namespace, "__file__": name} if sys.argv[0] else namespace)


if __name__ == "__main__":
    _main()
