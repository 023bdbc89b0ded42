"""`b9agent config`: what is set, from where, and setting it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from provisioner.agent.cli import main

TOKEN = "-V38VmachineTOKEN=="


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, which is not there yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("B9AGENT_")]:
        monkeypatch.delenv(name)
    return tmp_path / ".b9agent" / "config.yaml"


def test_settings_are_set_one_by_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert main(["config", "set", "machine.token=-"]) == 0
    assert main(["config", "set", "machine.id=e13daa82", "pool=gpu", "machine.cpu=8000m"]) == 0
    assert main(["config", "set", "machine.cpu="]) == 0
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    text = file.read_text()
    assert TOKEN in text and "8000m" not in text
    assert main(["config", "validate"]) == 0
    out, err = capsys.readouterr()
    assert "the settings are good: machine e13daa82, pool gpu" in out
    assert (TOKEN in out + err, err) == (False, "")


def test_what_is_set_is_shown_with_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["config", "set", "machine.id=e13daa82", "pool=gpu"])
    secret = file.with_name("token")
    secret.write_text(TOKEN)
    main(["config", "set", "machine.token_file=token"])
    monkeypatch.setenv("B9AGENT_PROVIDER_NAME", "lambda")
    capsys.readouterr()
    assert main(["config", "show", "--json", "--hostname=10.0.0.7"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["machine.token"] == {"value": "********", "from": str(secret)}
    assert shown["pool"] == {"value": "gpu", "from": str(file)}
    assert shown["provider"] == {"value": "lambda", "from": "the environment"}
    assert shown["machine.hostname"] == {"value": "10.0.0.7", "from": "flags"}
    assert shown["gateway.port"] == {"value": "1994", "from": "default"}
    secret.unlink()
    assert main(["config", "show"]) == 2
    assert f"cannot read {secret}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "config needs one of: show, set, validate"),
        (["get"], "config needs one of"),
        (["set"], "needs KEY=VALUE"),
        (["set", "pool"], "takes KEY=VALUE"),
        (["set", "nosuch=1"], "unknown setting; there are: machine.token,"),
        (["set", "machine.cpu=8"], "millicores with an m"),
        (["set", f"machine.id={TOKEN}"], "8 lower-case hexadecimal digits"),
        (["validate"], "machine.token (--token) is missing"),
        (["show", "me"], "takes no further words"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["config", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not file.exists()


def test_what_may_not_be_looked_at_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in another user's home, which root's tests could look into."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", denied)
    monkeypatch.setattr(Path, "open", denied)
    for arguments in (["config", "validate"], ["config", "set", "pool=gpu"], ["--once"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"b9agent: cannot read {file}: Permission denied\n"


def test_a_secret_on_the_command_line_is_warned_of(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "set", f"machine.token={TOKEN}"]) == 0
    out, err = capsys.readouterr()
    assert "machine.token=- reads it from stdin" in err
    assert TOKEN not in out + err
