"""The tasks of tasks24.yaml, for pyinfra. Reading facts is its own affair."""

from io import StringIO
from pathlib import Path

from pyinfra import config
from pyinfra.operations import files, server, systemd

config.SUDO = True

TEMPLATES = Path(__file__).parent / "templates"
ETC, UNITS, LIB = "/etc/bench", "/etc/systemd/system", "/usr/local/lib/bench"
NAMES = ["bench-a", "bench-b", "bench-c"]
BLOCKS = {"trim_blocks": True}  # as Ansible has them
VALUES = {"units": NAMES, "listen": "127.0.0.1", "pool": "bench"}

server.user(user="bench", system=True, shell="/usr/sbin/nologin", home="/nonexistent",
            create_home=False)  # fmt: skip
files.directory(path=ETC, user="root", group="root", mode="755")
files.directory(path=LIB, user="root", group="root", mode="755")
files.directory(path="/var/lib/bench", user="bench", group="bench", mode="750")

for source, place, mode in (
    ("service.yaml", f"{ETC}/service.yaml", "640"),
    ("agent.yaml", f"{ETC}/agent.yaml", "600"),
    ("limits.conf", f"{ETC}/limits.conf", "644"),
    ("environment", f"{ETC}/environment", "644"),
    ("program.sh", f"{LIB}/program", "755"),
    ("unit-a.service", f"{UNITS}/bench-a.service", "644"),
    ("unit-b.service", f"{UNITS}/bench-b.service", "644"),
    ("unit-c.service", f"{UNITS}/bench-c.service", "644"),
):
    template = str(TEMPLATES / f"{source}.j2")
    files.template(src=template, dest=place, mode=mode, jinja_env_kwargs=BLOCKS, **VALUES)

for place, content in (
    (f"{ETC}/pool", "bench\n"),
    (f"{ETC}/sysctl", "net.core.somaxconn = 4096\n"),
    (f"{ETC}/motd", "Provisioned.\n"),
):
    files.put(src=StringIO(content), dest=place, mode="644")
files.line(path="/etc/hosts", line="10.199.0.1 bench-gateway")

server.shell(commands=["uname -r"])
server.shell(commands=["df -P /"])
server.shell(commands=["date -u"])
server.shell(commands=["test -e /var/lib/bench/pool || cp /etc/bench/pool /var/lib/bench/pool"])

for name in NAMES:
    systemd.service(service=name, running=True, enabled=True)
