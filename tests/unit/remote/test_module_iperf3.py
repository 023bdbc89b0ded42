"""iperf3's module, with a stand-in program that says what real ones said (recorded of 3.12)."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_STAND_IN = """\
#!/bin/sh
# stand-in for iperf3: says what a real one said
echo "$*" >>"{log}"
cat "{answer}"
exit {code}
"""


def summary(bits: float, retransmits: int | None = 3) -> str:
    """What `iperf3 --json` says in the end, as far as it is read."""
    sent: dict[str, Any] = {"start": 0, "end": 5, "seconds": 5, "bytes": 1, "bits_per_second": bits}
    received = {**sent, "bits_per_second": bits * 0.99, "sender": True}
    if retransmits is not None:
        sent["retransmits"] = retransmits
    return json.dumps(
        {"start": {}, "intervals": [], "end": {"sum_sent": sent, "sum_received": received}}
    )


@pytest.fixture
def port() -> Iterator[int]:
    """A port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`says(text, code)`: have the stand-in say that; gives the log of its arguments."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(text: str, code: int = 0) -> Path:
        answer, log, program = (tmp_path / each for each in ("answer", "log", "iperf3"))
        answer.write_text(text)
        program.write_text(_STAND_IN.format(log=log, answer=answer, code=code))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return log

    return make


def rows(apply: Any, **arguments: Any) -> list[dict[str, Any]]:
    given = {"here": "w1", "there": "w2", "addresses": ["127.0.0.1"], **arguments}
    return list(apply("iperf3", **given)["rows"])


def test_both_directions(apply: Any, says: Any, port: int) -> None:
    log = says(summary(20e9))
    forth, back = rows(apply, port=port, min_gbps=15, streams=8, seconds=3)
    assert (forth["from"], forth["to"], back["from"], back["to"]) == ("w1", "w2", "w2", "w1")
    for row in (forth, back):
        assert row["ok"] and row["gbps"] == 19.8 and row["retransmits"] == 3 and not row["reason"]
    first, second = log.read_text().splitlines()
    assert "--parallel 8" in first and "--time 3" in first and "--reverse" not in first
    assert second == f"{first} --reverse"


def test_too_slow(apply: Any, says: Any, port: int) -> None:
    says(summary(9.4e9, None))
    row = rows(apply, port=port, min_gbps=15)[0]
    assert not row["ok"] and row["gbps"] == 9.306 and row["retransmits"] is None
    assert row["reason"] == "9.306 Gbit/s where 15 are wanted" and "ethtool" in row["fix"]


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ('{"start": {}, "error": "the server is busy running a test. try again later"}', 1, "busy"),
        ("iperf3: unrecognized option '--json'\n", 1, "unrecognized option"),
        ("{}", 0, "iperf3: {}"),
        ("", 3, "exit code 3"),
    ],
)
def test_no_figure(apply: Any, says: Any, port: int, said: str, code: int, reason: str) -> None:
    says(said, code)
    for row in rows(apply, port=port, timeout=0.3):
        assert not row["ok"] and row["gbps"] is None and reason in row["reason"] and row["fix"]


_REFUSING = """\
#!/bin/sh
# stand-in for iperf3: no connection to the first address, as a real one says it
case "$*" in
  *127.0.0.9*) echo '{"error": "unable to connect to server: Connection refused"}'; exit 1 ;;
  *) cat "$0.answer" ;;
esac
"""


@pytest.fixture
def refused_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iperf3 that does not reach 127.0.0.9."""
    program = tmp_path / "iperf3"
    program.write_text(_REFUSING)
    program.chmod(0o755)
    program.with_name("iperf3.answer").write_text(summary(1e9))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.usefixtures("refused_at_first")
def test_the_first_address_that_answers(apply: Any) -> None:
    for row in rows(apply, addresses=["", "127.0.0.9", "127.0.0.1"]):
        assert row["gbps"] == 0.99


@pytest.mark.usefixtures("refused_at_first")
def test_no_way(apply: Any) -> None:
    given = {"here": "w1", "there": "gateway", "addresses": ["127.0.0.9"], "port": 77}
    done = apply("iperf3", **given)
    assert not done["reached"]
    assert done["rows"][0]["reason"] == "127.0.0.9:77: Connection refused"
    assert done["rows"][0]["fix"] == "let w1 connect to TCP port 77 of gateway"
    assert apply("iperf3", here="w1", there="w2")["rows"][0]["reason"] == "no address is known"


def test_why_there_is_no_server(apply: Any, says: Any) -> None:
    says(summary(1e9))
    row = rows(apply, unready="port 5201 is taken by nginx (pid 7)")[0]
    assert "nginx" in row["reason"] and "w2" in row["fix"]


def test_a_tunnel_that_does_not_come_up(apply: Any, says: Any) -> None:
    says(summary(1e9))
    way = ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-p", "1", "nobody@127.0.0.1"]
    row = rows(apply, through=way)[0]
    assert row["way"] == "tunnel" and "no tunnel: " in row["reason"] and not row["ok"]


def test_it_is_not_installed(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "not installed" in rows(apply)[0]["reason"]


def test_a_dry_run_loads_nothing(apply: Any, says: Any) -> None:
    log = says(summary(1e9))
    assert apply("iperf3", here="w1", there="w2", check=True)["skipped"] and not log.exists()
    assert apply("iperf3_server", state="started", check=True)["skipped"]


def test_a_taken_port(apply: Any, port: int) -> None:
    from provisioner.remote.module import ModuleFailed

    with pytest.raises(ModuleFailed, match=f"port {port} is taken by .*pid"):
        apply("iperf3_server", state="started", port=port)
