"""apt: dpkg's database decides, and apt itself only runs when there is something to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import aptget, aptlock, process
from provisioner.remote.module import ModuleFailed
from provisioner.remote.modules import apt

if not shutil.which("dpkg-query"):
    pytest.skip("needs dpkg", allow_module_level=True)

# What apt is made to believe that it could install.
AVAILABLE = {"one-missing": ["2.0", "1.1", "1.0"], "two-missing": ["1.0"], "awk": [], "virtual": []}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would have been run as apt-get; apt-cache answers from AVAILABLE, the rest is run."""
    commands: list[list[str]] = []
    real = process.run

    def run(argv: Any, **options: Any) -> process.Outcome:
        if argv[0] == "apt-get":
            assert options["env"]["DEBIAN_FRONTEND"] == "noninteractive"
            commands.append(list(argv))
            return process.Outcome(0, "Reading\n1 upgraded, 0 newly installed\n", "", 0.0)
        if argv[0] == "apt-cache":
            return process.Outcome(0, fake_cache(argv[1:]), "", 0.0)
        return real(argv, **options)

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(aptlock, "LOCKS", ())
    monkeypatch.setattr(aptget, "STAMPS", (str(tmp_path / "stamp"),))
    monkeypatch.setattr(aptget, "AUTOMATIC", tmp_path / "extended_states")
    monkeypatch.setattr(apt, "_put_off", False)
    return commands


def fake_cache(words: list[str]) -> str:
    if words[0] == "pkgnames":
        return "\n".join(AVAILABLE)
    if words[0] == "showpkg":
        return "Reverse Provides: \n" + ("someone 1.0 (= )\n" if words[1] == "virtual" else "")
    text = ""
    for name in words[words.index("policy") + 1 :]:
        versions = AVAILABLE.get(name, [])
        if name in AVAILABLE:
            best = versions[0] if versions else "(none)"
            text += f"{name}:\n  Installed: (none)\n  Candidate: {best}\n  Version table:\n"
            text += "".join(f"     {v} 500\n        500 http://x y/main\n" for v in versions)
    return text


def words(command: list[str]) -> list[str]:
    return [w for w in command[1:] if not w.startswith("-") and "::" not in w]


def test_nothing_to_do_runs_nothing(apply: Any, ran: list[list[str]]) -> None:
    assert not apply("apt", name=["dpkg", "bash"], update_cache=True)["changed"]
    assert not apply("apt", name="no-such-package", state="absent")["changed"]
    assert not apply("apt", name=[])["changed"]
    assert ran == []
    assert not apply("apt", name="awk")["changed"], "a virtual package that is provided"


def test_missing_packages_are_installed_together(apply: Any, ran: list[list[str]]) -> None:
    arguments = {"name": "bash,one-missing,two-missing", "update_cache": True}
    install = ["install", "one-missing=2.0", "two-missing=1.0"]
    assert apply("apt", **arguments, check=True)["changed"]
    assert [words(c) for c in ran] == [install] and "--simulate" in ran[0]
    ran.clear()
    assert apply("apt", **arguments)["changed"]
    assert [words(c) for c in ran] == [["update"], install]
    assert "--simulate" not in ran[1]


def test_lists_that_were_not_needed_are_read_when_they_are(
    apply: Any, ran: list[list[str]]
) -> None:
    apply("apt", name="bash", update_cache=True)
    apply("apt", name="dpkg")
    assert ran == []
    apply("apt", name="two-missing")
    assert [words(c)[0] for c in ran] == ["update", "install"]
    ran.clear()
    apply("apt", name="two-missing")
    assert [words(c)[0] for c in ran] == ["install"]


def test_young_lists_are_not_read_anew(apply: Any, ran: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "stamp").touch()
    assert not apply("apt", update_cache=True, cache_valid_time=3600)["changed"]
    assert not apply("apt", cache_valid_time=3600)["changed"]
    assert ran == []
    assert apply("apt", update_cache=True, check=True)["cache_updated"]
    assert ran == []
    apply("apt", update_cache=True)
    assert [words(c) for c in ran] == [["update"]]


def test_versions(apply: Any, ran: list[list[str]]) -> None:
    version = process.run(["dpkg-query", "-W", "-f", "${Version}", "bash"]).stdout
    assert not apply("apt", name=f"bash={version}")["changed"]
    assert not apply("apt", name=f"bash>={version}")["changed"]
    assert not apply("apt", name="bash>=1.0")["changed"]
    assert ran == []
    for wanted, got in (("=1.*", "=1.1"), ("=1.0", "=1.0"), (">=1.5", "=2.0"), ("", "=2.0")):
        apply("apt", name=f"one-missing{wanted}")
        assert words(ran.pop()) == ["install", f"one-missing{got}"]
    for bad in ("one-missing=9", "one-missing>=9"):
        with pytest.raises(ModuleFailed, match="no available installation candidate"):
            apply("apt", name=bad)
    with pytest.raises(ModuleFailed, match="invalid package spec"):
        apply("apt", name="one-missing=1=2")


def test_packages_that_nobody_has(apply: Any, ran: list[list[str]]) -> None:
    for check in (False, True):
        with pytest.raises(ModuleFailed, match="No package matching 'no-such' is available"):
            apply("apt", name="no-such", check=check)
    assert ran == []
    assert apply("apt", name="virtual")["changed"], "apt decides who provides it"


def test_wildcards(apply: Any, ran: list[list[str]]) -> None:
    assert apply("apt", name="*-missing")["changed"]
    assert words(ran.pop()) == ["install", "one-missing=2.0", "two-missing=1.0"]
    assert not apply("apt", name="*-missing", state="absent")["changed"]
    with pytest.raises(ModuleFailed, match="No package"):
        apply("apt", name="no-such*", state="absent")


def test_removal(apply: Any, ran: list[list[str]]) -> None:
    assert apply("apt", name=["bash", "no-such-package"], state="absent")["changed"]
    assert words(ran[0]) == ["remove", "bash"]
    assert not apply("apt", name="bash=0.1", state="absent")["changed"]


def test_options(apply: Any, ran: list[list[str]]) -> None:
    apply(
        "apt",
        name="one-missing",
        install_recommends=False,
        default_release="stable-backports",
        allow_downgrades=True,
        only_upgrade=False,
        fail_on_autoremove=True,
    )
    assert {"APT::Install-Recommends=no", "--allow-downgrades", "--no-remove"} <= set(ran[0])
    assert ran[0][ran[0].index("-t") + 1] == "stable-backports"
    assert not apply("apt", name="two-missing", only_upgrade=True)["changed"]
    apply("apt", upgrade="dist")
    assert "dist-upgrade" in ran[1]
    apply("apt", name="*", state="latest")
    assert ran[2][-2:] == ["upgrade", "--with-new-pkgs"]
    apply("apt", name="one-missing", state="build-dep")
    assert words(ran[3]) == ["build-dep", "one-missing"]


def test_services_may_be_kept_from_starting(
    apply: Any, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(aptget, "POLICY_RC_D", policy)
    seen = []
    real = process.run

    def run(argv: Any, **options: Any) -> process.Outcome:
        if argv[0] == "apt-get":
            seen.append(policy.read_text())
        return real(argv, **options)

    monkeypatch.setattr(process, "run", run)
    apply("apt", name="one-missing", policy_rc_d=101)
    assert seen == ["#!/bin/sh\nexit 101\n"] and not policy.exists()
    policy.write_text("mine")
    apply("apt", name="one-missing", policy_rc_d=101)
    assert seen[1] == seen[0] and policy.read_text() == "mine"


def test_a_named_package_is_no_longer_automatic(
    apply: Any, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marked = []
    real = process.run

    def run(argv: Any, **options: Any) -> process.Outcome:
        if argv[0] == "apt-mark":
            marked.append(argv)
            return process.Outcome(0, "", "", 0.0)
        return real(argv, **options)

    monkeypatch.setattr(process, "run", run)
    apply("apt", name=["bash", "dpkg"])
    assert marked == []
    block = "Package: {}\nArchitecture: amd64\nAuto-Installed: {}\n\n"
    (tmp_path / "extended_states").write_text(block.format("bash", 0) + block.format("dpkg", 1))
    assert not apply("apt", name=["bash", "dpkg"], check=True)["changed"]
    assert marked == []
    assert not apply("apt", name=["bash", "dpkg"])["changed"]
    assert marked == [["apt-mark", "manual", "dpkg"]]


def test_arguments(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="required"):
        apply("apt")
    with pytest.raises(ModuleFailed, match=r"mutually exclusive: deb\|package\|upgrade"):
        apply("apt", name="bash", upgrade="dist")
    with pytest.raises(ModuleFailed, match="deb only supports"):
        apply("apt", deb="/x.deb", state="absent")
    with pytest.raises(ModuleFailed, match="unable to install additional packages"):
        apply("apt", name=["*", "bash"], state="latest")


def test_a_host_without_apt(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for module in ("apt", "package"):
        with pytest.raises(ModuleFailed, match="no apt"):
            apply(module, name="bash")
