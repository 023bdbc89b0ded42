"""apt: dpkg's database decides, and apt itself only runs when there is something to do."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from provisioner.remote import aptlock, process
from provisioner.remote.module import ModuleFailed

if not shutil.which("dpkg-query"):
    pytest.skip("needs dpkg", allow_module_level=True)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run as apt-get; the rest is run."""
    commands: list[list[str]] = []
    real = process.run

    def run(argv: Any, **options: Any) -> process.Outcome:
        if argv[0] == "apt-get":
            assert options["env"]["DEBIAN_FRONTEND"] == "noninteractive"
            commands.append([word for word in argv if not word.startswith("-")])
            return process.Outcome(0, "", "", 0.0)
        return real(argv, **options)

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(aptlock, "LOCKS", ())
    return commands


def words(command: list[str]) -> list[str]:
    return [word for word in command[1:] if "::" not in word]


def test_nothing_to_do_runs_nothing(apply: Any, ran: list[list[str]]) -> None:
    assert not apply("apt", name=["dpkg", "bash"], update_cache=True)["changed"]
    assert not apply("apt", name="awk")["changed"], "a virtual package that is provided"
    assert not apply("apt", name="no-such-package", state="absent")["changed"]
    assert ran == []


def test_missing_packages_are_installed_together(apply: Any, ran: list[list[str]]) -> None:
    arguments = {"name": "bash,one-missing,two-missing", "update_cache": True}
    assert apply("apt", **arguments, check=True)["changed"]
    assert ran == []
    assert apply("apt", **arguments)["changed"]
    assert [words(c) for c in ran] == [["update"], ["install", "one-missing", "two-missing"]]


def test_young_lists_are_not_read_anew(
    apply: Any, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    stamp = tmp_path / "stamp"
    stamp.touch()
    monkeypatch.setattr("provisioner.remote.modules.apt.STAMPS", (str(stamp),))
    assert not apply("apt", update_cache=True, cache_valid_time=3600)["changed"]
    assert ran == []
    result = apply("apt", update_cache=True)
    assert result["changed"] and result["cache_updated"]


def test_versions(apply: Any, ran: list[list[str]]) -> None:
    version = process.run(["dpkg-query", "-W", "-f", "${Version}", "bash"]).stdout
    assert not apply("apt", name=f"bash={version}")["changed"]
    assert not apply("apt", name=f"bash={version[:2]}*")["changed"]
    assert apply("apt", name="bash=0.1", check=True)["changed"]


def test_removal(apply: Any, ran: list[list[str]]) -> None:
    assert apply("apt", name=["bash", "no-such-package"], state="absent")["changed"]
    assert words(ran[0]) == ["remove", "bash"]


def test_arguments(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="wildcards"):
        apply("apt", name="foo*")
    with pytest.raises(ModuleFailed, match="required"):
        apply("apt")
