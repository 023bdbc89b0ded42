"""Settings: where they come from, which wins, and what is refused before the gateway sees it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from provisioner.agent import configfile
from provisioner.agent.flags import UsageError, parse
from provisioner.agent.log import Log, mask
from provisioner.agent.settings import BadSettings, Settings, Source, from_environment, resolve

GOOD = {"token": "machine-token-12345", "machine-id": "e13daa82"}

FULL = """\
gateway:
  host: "100.72.101.23"
  port: 1995
machine:
  id: 01234567
  token: "machine-token-12345"
  hostname: 10.199.0.7
  private_ip: 192.168.1.5
  cpu: 8000m
  memory: 16Gi
  gpu_count: 1
pool: gpu
provider: lambda
k3s:
  token_file: k3s.token
keepalive_interval: 30
"""


def settings(**values: str) -> Settings:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return resolve([Source("test", {**GOOD, **named})])


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_defaults() -> None:
    found = settings()
    assert (found.pool, found.provider, found.interval) == ("external", "generic", 60.0)
    assert str(found.gateway) == "localhost:1994"
    assert not found.gateway.tls


def test_file_in_full(tmp_path: Path) -> None:
    (tmp_path / "k3s.token").write_text("k3s-token-67890\n")
    log = io.StringIO()
    source = configfile.load(written(tmp_path / "config.yaml", FULL), Log(stream=log))
    found = resolve([source])
    assert found.machine_id == "01234567"  # no octal number
    assert (found.pool, found.provider, found.interval) == ("gpu", "lambda", 30.0)
    assert str(found.gateway) == "100.72.101.23:1995"
    assert (found.hostname, found.private_ip) == ("10.199.0.7", "192.168.1.5")
    assert (found.cpu, found.memory, found.gpu_count) == ("8000m", "16Gi", "1")
    assert found.k3s_token == "k3s-token-67890"
    assert log.getvalue() == ""


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    file = Source("file", {**GOOD, "pool-name": "file", "hostname": "file", "cpu": "1m"})
    environment = from_environment({"B9AGENT_POOL_NAME": "env", "B9AGENT_HOSTNAME": "env"})
    found = resolve([Source("flags", {"pool-name": "flag"}), environment, file])
    assert (found.pool, found.hostname, found.cpu) == ("flag", "env", "1m")


def test_a_token_file_by_flag_beats_a_token_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("other-token-555\n")
    flags = Source("flags", {"token-file": "t"}, tmp_path)
    assert resolve([flags, Source("file", GOOD)]).token == "other-token-555"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("machine-id", "E13DAA82"),
        ("machine-id", "e13daa8"),
        ("machine-id", "e13daa82\n"),
        ("machine-id", "../../etc"),
        ("cpu", "8"),  # the gateway would take it for 8 millicores
        ("cpu", "0.5"),
        ("cpu", "8.5m"),
        ("cpu", "0m"),
        ("memory", "16G"),
        ("memory", "16GB"),
        ("memory", "15.5Gi"),
        ("memory", "17179869184"),  # and this for as many MiB
        ("gpu-count", "-1"),
        ("gpu-count", "1.0"),
        ("pool-name", "a:b"),
        ("provider-name", "a b"),
        ("gateway-host", "http://gateway"),
        ("gateway-host", "gateway:1994"),
        ("gateway-port", "0"),
        ("gateway-port", "65536"),
        ("gateway-tls", "yes"),
        ("hostname", "-x"),
        ("hostname", "a..b"),
        ("private-ip", "300.1.1.1"),
        ("keepalive-interval", "0"),
        ("keepalive-interval", "300"),
        ("token", "two words"),
        ("token", "bad\r\nX-Header: 1"),
        ("k3s-token", "two words"),
    ],
)
def test_refused(flag: str, value: str) -> None:
    with pytest.raises(BadSettings) as caught:
        resolve([Source("test", {**GOOD, flag: value})])
    assert len(caught.value.problems) == 1
    assert f"--{flag}" in caught.value.problems[0]
    assert "token" not in flag or value not in str(caught.value)


def test_missing_settings_are_told_together() -> None:
    with pytest.raises(BadSettings) as caught:
        resolve([])
    assert [line.split()[0] for line in caught.value.problems] == ["machine.token", "machine.id"]


def test_missing_token_file(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot read .*absent: No such file"):
        resolve([Source("file", {"machine-id": "e13daa82", "token-file": "absent"}, tmp_path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gateway:\n\thost: x\n", r":2: not YAML"),
        ("a: [1, 2\n", r"not YAML"),
        ("- a\n- b\n", r"must be a mapping"),
        ("just text", r"must be a mapping"),
        ("pool: [a, b]\n", r"pool must be a single value"),
        ("a: !!python/object:os.system x\nb: *none\n", r"not YAML"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "config.yaml", text)
    with pytest.raises(BadSettings, match=message):
        configfile.load(path, Log(stream=io.StringIO()))


def test_binary_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("binary", "not UTF-8"), ("absent", "No such file")):
        with pytest.raises(BadSettings, match=message):
            configfile.load(tmp_path / name, Log(stream=io.StringIO()))


def test_half_written_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = written(tmp_path / "config.yaml", FULL[:60])
    with pytest.raises(BadSettings, match=r"missing|not YAML"):
        resolve([configfile.load(path, Log(stream=io.StringIO()))])


def test_unknown_keys_are_warned_of(tmp_path: Path) -> None:
    log = io.StringIO()
    path = written(tmp_path / "config.yaml", "machine:\n  hostnme: x\npool: gpu\n")
    assert configfile.load(path, Log(stream=log)).values == {"pool-name": "gpu"}
    assert "unknown key machine.hostnme; did you mean machine.hostname?" in log.getvalue()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_exposed_tokens_are_warned_of(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "config.yaml", FULL, mode)
    log = io.StringIO()
    configfile.load(path, Log(stream=log))
    assert f"mode {mode:04o}" in log.getvalue()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    quiet = io.StringIO()
    configfile.load(path, Log(stream=quiet))
    assert quiet.getvalue() == ""


def test_a_file_without_tokens_may_be_open(tmp_path: Path) -> None:
    log = io.StringIO()
    configfile.load(written(tmp_path / "c.yaml", "pool: gpu\n", 0o644), Log(stream=log))
    assert log.getvalue() == ""


def test_written_file_reads_back(tmp_path: Path) -> None:
    values = {**GOOD, "pool-name": "gpu", "hostname": "h", "k3s-token": 'q"uo#te: \\x'}
    path = tmp_path / "new" / "config.yaml"
    configfile.write(path, values)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert configfile.load(path, Log(stream=io.StringIO())).values == values
    assert list(path.parent.iterdir()) == [path]


def test_secrets_are_masked_once_resolved() -> None:
    settings(k3s_token="k3s-token-67890")
    assert mask("x machine-token-12345 y k3s-token-67890") == "x ******** y ********"


def test_flags_in_both_spellings() -> None:
    flags = parse(
        ["-token", "-starts-with-a-dash==", "--pool-name=gpu", "-debug", "--tui=false", "x"],
        ["token", "pool-name"],
        ["debug", "tui"],
    )
    assert flags.values == {"token": "-starts-with-a-dash==", "pool-name": "gpu"}
    assert flags.switches == {"debug": True, "tui": False}
    assert flags.words == ["x"]


@pytest.mark.parametrize("arguments", [["--token"], ["--tokn=s3cret"], ["--tui=s3cret"], ["---"]])
def test_bad_flags_show_no_values(arguments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments, ["token"], ["tui"])
    assert "s3cret" not in str(caught.value)
