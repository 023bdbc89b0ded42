"""The terminal UI and the dashboard as users have them: in tmux, over ssh, on real hosts."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driver import Driver, wait_until
from screen import PATIENCE, PROMPT, Screen

from provisioner.lab import Host
from provisioner.lab.rootfs import LOGIN

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PANES = ("Worker pods", "Inference", "Log", "Quit")
Log_in = Callable[..., Screen]


@pytest.fixture
def worker(ready: Driver) -> Host:
    """A worker with the pod of a Job of the gateway's."""
    host = ready.lab.host("w1")
    wait_until(lambda: "-stand-in" in pods(host), PATIENCE, "the gateway's Job has a pod")
    return host


def pods(host: Host) -> str:
    return host.exec(["curl", "-s", "-m", "10", "http://127.0.0.1:9999/pods"]).stdout


@pytest.fixture
def log_in(ready: Driver) -> Iterator[Log_in]:
    """Opens a terminal on a host, over ssh."""
    opened: list[Screen] = []

    def begin(host: Host, size: tuple[int, int] = (100, 30)) -> Screen:
        name = f"{ready.lab.name}-{host.name}-{len(opened)}"
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        ssh = ["ssh", "-tt", "-i", str(ready.lab.identity_file)]
        ssh += [word for option in options for word in ("-o", option)]
        shell = f"env PS1='{PROMPT} ' bash --norc"
        opened.append(Screen(name, [*ssh, f"{LOGIN}@{host.address}", shell], size))
        opened[-1].until(PROMPT)
        return opened[-1]

    yield begin
    for screen in opened:
        screen.close()


def is_back(screen: Screen) -> bool:
    """Whether the shell is there again, on a terminal as it was."""
    screen.until(rf"{PROMPT}\s*\Z")
    screen.type("stty -a | grep -c ' echo '")
    screen.until(rf"\n1\n{PROMPT}")
    return screen.is_sane()


def test_each_pane_is_there_and_enter_shows_a_pods_log(worker: Host, log_in: Log_in) -> None:
    screen = log_in(worker)
    screen.type("b9agent")
    shown = screen.until("Status: READY", *PANES, "-stand-in +Pending", "the machine is ready")
    assert re.search(r"Gateway: 127\.0\.0\.1:1994 .* Pool: gpu .* Uptime: \d", shown)
    assert re.search(r"CPU: [\d.]+% .* Memory: [\d.]+% .* GPUs: 0", shown)
    assert re.search(r"Status: running .* Backend: ollama .* Endpoint: 127\.0\.0\.1:11434", shown)
    screen.press("Enter")
    screen.until("Log of worker-.*-stand-in", "k3s-stand-in: worker of this pod is not run",
                 "line 20 of 20", "Back")  # fmt: skip
    screen.press("Escape")
    screen.until(*PANES)
    screen.press("q")
    assert is_back(screen)
    assert worker.exec(["systemctl", "is-active", "--quiet", "b9agent"]).returncode == 0


def test_it_follows_the_size_of_its_window(worker: Host, log_in: Log_in) -> None:
    screen = log_in(worker, (60, 20))
    screen.type("b9agent")
    screen.until("READY", "Worker pods", "Log")
    screen.resize(140, 40)
    wait_until(lambda: re.search(r"^╭─ .{120,}╮$", screen.text, re.M), PATIENCE, "it is wider")
    assert all(pane in screen.text for pane in PANES)
    screen.press("C-c")
    assert is_back(screen)


def test_what_happens_is_seen_as_it_does(worker: Host, log_in: Log_in) -> None:
    screen = log_in(worker)
    screen.type("b9agent")
    screen.until("READY", "Status: running")
    screen.press("x")
    screen.until("Status: stopped", "is to be stopped", "inference: stopp")
    screen.press("s")
    screen.until("Status: running", "inference: running")
    screen.press("q")
    assert is_back(screen)


def test_it_runs_an_agent_where_none_does(worker: Host, log_in: Log_in) -> None:
    """As root, who may read the settings; with a control API, the agent is one as ever."""
    screen = log_in(worker)
    assert worker.exec(["systemctl", "stop", "b9agent"]).returncode == 0
    try:
        screen.type("sudo b9agent")
        screen.until("READY", *PANES)
        assert worker.exec(["pgrep", "-fc", "b9agent.pyz run"]).stdout.strip() == "1"
        screen.press("q")
        assert is_back(screen)
        assert worker.exec(["pgrep", "-fc", "b9agent.pyz"]).stdout.strip() == "0"
        left = worker.exec(["find", "/run/b9agent-tui", "-maxdepth", "0", "-perm", "700"])
        assert left.stdout.strip() == "/run/b9agent-tui"
    finally:
        worker.exec(["systemctl", "start", "b9agent"])
    wait_until(lambda: "-stand-in" in pods(worker), PATIENCE, "the agent is back")


@pytest.mark.parametrize("command", ["NO_COLOR=1 b9agent", "b9agent --no-color"])
def test_without_colours(worker: Host, log_in: Log_in, command: str) -> None:
    """Greys are left: of the 256 those from 232 on, and the six of the cube."""
    screen = log_in(worker)
    screen.type(command)
    screen.until("READY", *PANES)
    used = {int(each) for each in re.findall(r"[34]8;5;(\d+)", screen.coloured)}
    assert used and not {each for each in used if 16 < each < 231 and (each - 16) % 43}
    screen.press("q")
    assert is_back(screen)


def test_the_dashboard_shows_all_workers(ready: Driver, worker: Host) -> None:
    path = ready.inventory(
        lambda data: data["hosts"].update(gone={"address": "127.0.0.1", "port": 1})
    )
    program = str(Path(sys.executable).with_name("b9prov"))
    home = ["env", "-u", "NO_COLOR", f"HOME={ready.home}", f"PS1={PROMPT} "]
    screen = Screen(f"{ready.lab.name}-fleet", [*home, "bash", "--norc"], (150, 45))
    other = ready.lab.host("w2")
    try:
        screen.until(PROMPT)
        screen.type(f"{program} dashboard {path}")
        screen.until("4 workers", *(rf"{name} +ok +ready +gpu" for name in ("w1", "w2", "w3")))
        screen.until(r"gone +down +unreachable .* nothing answers at 127\.0\.0\.1:1")
        screen.until(r"─ w1 · ", *PANES, "-stand-in +Pending")
        screen.press("Down")
        screen.until(r"─ w2 · ")
        other.exec(["systemctl", "stop", "b9agent"])
        screen.until(r"w2 +ok +no agent", "is b9agent running")
        other.exec(["systemctl", "start", "b9agent"])
        screen.until(r"w2 +ok +ready")
        screen.press("Enter")
        screen.until("Pod's log", "-stand-in +Pending")
        screen.press("Enter")
        screen.until("Log of worker-.*-stand-in", "line 20 of 20")
        screen.press("Escape")
        screen.until("4 workers")
        other.cut_link()
        screen.until(r"w2 +down +unreachable", seconds=90)
        other.restore_link()
        screen.until(r"w2 +ok +ready", seconds=90)
        screen.press("q")
        assert is_back(screen)
    finally:
        other.restore_link()
        other.exec(["systemctl", "start", "b9agent"])
        screen.close()
