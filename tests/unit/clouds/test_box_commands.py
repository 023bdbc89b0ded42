"""`b9prov box` as users run it, against a stand-in whose machines can't be logged in to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cloud_sites import LOGIN_KEY, Site

from provisioner.cli.main import program
from provisioner.clouds.record import Records
from provisioner.inventory import load_inventory

PROGRAM = [sys.executable, "-c", "from provisioner.cli.main import main; main()", "box"]
KINDS = {"lambda": ("gpu_1x_a10", "us-east-1"), "crusoe": ("a100-80gb.1x", "us-east1-a")}
Ran = subprocess.CompletedProcess[str]
Box = Callable[..., Ran]


@pytest.fixture
def inventory(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway that nobody gets to, and a key to log in with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "id_ed25519.pub").write_text(f"{LOGIN_KEY} me@here\n")
    content = {
        "gateway": {"host": "192.0.2.1", "admin_token": "an-admin-token"},
        "defaults": {"identity_file": "id_ed25519", "connect_timeout": 0.2},
        "sources": [{site.cloud.provider: {"api": site.base}}],
    }
    path = tmp_path / "inventory.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def box(capsys: pytest.CaptureFixture[str]) -> Box:
    """Runs `b9prov box` here, where no provider's pace is kept."""

    def run(*words: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            program.main(["box", *words], prog_name="b9prov")
        said = capsys.readouterr()
        return Ran(words, int(ended.value.code or 0), said.out, said.err)

    return run


def up_words(site: Site, *more: str) -> list[str]:
    kind, region = KINDS[site.cloud.provider]
    words = ["--provider", site.cloud.provider, "--type", kind, "--region", region]
    return ["up", *words, "--name", "gpu", *more]


def test_a_launch_that_fails_half_way_says_what_costs_and_how_it_ends(
    site: Site, inventory: Path, box: Box
) -> None:
    ran = box(*up_words(site, "--wait", "1.5"))
    (machine,) = site.api.running()
    assert ran.returncode == 1, ran.stderr
    lines = ran.stderr.splitlines()
    assert "let nobody in in time" in ran.stderr
    price = ", $0.75 an hour" if site.cloud.provider == "lambda" else ""
    where = " in ".join(KINDS[site.cloud.provider])
    provider = site.cloud.provider
    assert f"gpu costs money: {provider} {machine.id} ({where}{price})" in lines
    assert "to end it: b9prov box down gpu" in lines
    assert any(line.startswith("to go on: b9prov box up --provider") for line in lines)
    listed = box("list", "--output", "json")
    (row,) = json.loads(listed.stdout)["boxes"]
    assert (row["name"], row["id"], row["state"]) == ("gpu", machine.id, "running")
    assert row["worker"] == "launched"

    ended = box("down", "gpu", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "gpu is ended\n"
    assert site.api.running() == []
    assert getattr(site.api, "keys", {}) == {}
    assert Records().all() == {}


def test_ctrl_c_says_what_costs(site: Site, inventory: Path) -> None:
    site.api.faults.never_boots = True
    process = subprocess.Popen([*PROGRAM, *up_words(site)], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("gpu: "):
            process.send_signal(signal.SIGINT)
            break
    said += process.communicate(timeout=20)[1]
    (machine,) = site.api.running()
    assert process.returncode == 130, said
    assert f"gpu costs money: {site.cloud.provider} {machine.id}" in said
    assert "b9prov box down gpu" in said


@pytest.mark.parametrize("site", ["lambda"], indirect=True)
def test_of_several_the_first_is_told_when_the_second_is_not_to_be_had(
    site: Site, inventory: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = site.api.answer

    def one_only(method: str, path: str, query: dict[str, str], body: dict[str, object]) -> object:
        site.api.faults.out_of_stock = bool(site.api.machines)
        return launch(method, path, query, body)

    monkeypatch.setattr(site.api, "answer", one_only)
    ran = box(*up_words(site, "--count", "2"))
    assert ran.returncode == 1
    assert "error: lambda is out of stock" in ran.stderr
    assert "gpu-1 costs money" in ran.stderr
    assert "gpu-2" not in ran.stderr.partition("costs money")[2]
    assert "there are some in us-east-1, us-west-1" in ran.stderr


def test_what_was_refused_costs_nothing(site: Site, inventory: Path, box: Box) -> None:
    site.api.faults.out_of_stock = True
    ran = box(*up_words(site))
    assert ran.returncode == 1
    assert f"error: {site.cloud.provider} is out of stock" in ran.stderr
    assert "nothing was launched: nothing costs" in ran.stderr


def test_what_the_provider_ended_is_taken_note_of(site: Site, inventory: Path, box: Box) -> None:
    box(*up_words(site, "--wait", "1.5"))
    site.api.end(site.api.running()[0])
    listed = box("list")
    assert " gone " in listed.stdout
    assert "all of them: nothing" in listed.stdout
    ended = box("down", "gpu", "--yes")
    assert (ended.returncode, Records().all()) == (0, {}), ended.stderr
    assert "gpu was not at" in ended.stdout


@pytest.mark.parametrize("site", ["lambda"], indirect=True)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--type", "gpu_1x_a1O"), "lambda has no type 'gpu_1x_a1O' (did you mean gpu_1x_a10"),
        (("--name", "Not_a_name"), "is no host name"),
        (("--name", "w1"), "w1 is a host of inventory.yaml already, at 198.51.100.7"),
        (("--name", "taken"), "lambda has a machine taken already"),
        (("-e", "identity_file=no_such"), "no such file"),
    ],
)
def test_what_can_t_come_to_a_good_end_is_not_begun(
    site: Site, inventory: Path, box: Box, words: tuple[str, ...], said: str
) -> None:
    content = yaml.safe_load(inventory.read_text()) | {"hosts": {"w1": "198.51.100.7"}}
    inventory.write_text(yaml.safe_dump(content))
    site.machine("taken")
    ran = box(*up_words(site), *words)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    assert [each.name for each in site.api.running()] == ["taken"]
    assert Records().all() == {}


@pytest.mark.parametrize("site", ["lambda"], indirect=True)
def test_a_machine_has_the_tags_that_its_source_looks_for(
    site: Site, inventory: Path, box: Box
) -> None:
    content = yaml.safe_load(inventory.read_text())
    content["sources"][0]["lambda"] |= {"tags": ["team=ml", "gpu"], "group": "rented"}
    inventory.write_text(yaml.safe_dump(content))
    box(*up_words(site, "--wait", "1.5"))
    (machine,) = site.api.running()
    tags = {tag["key"]: tag["value"] for tag in machine.tags}
    assert (tags["team"], tags["gpu"]) == ("ml", "")
    (host,) = load_inventory(inventory, refresh=True).select("rented")
    assert (host.name, host.host_key) == ("gpu", Records().all()["gpu"].host_keys[0])


@pytest.mark.parametrize("site", ["lambda"], indirect=True)
def test_a_machine_is_what_it_was_launched_as(site: Site, inventory: Path, box: Box) -> None:
    box(*up_words(site, "--wait", "1"))
    ran = box(*up_words(site, "--region", "us-west-1"))
    assert ran.returncode == 2
    assert "gpu was launched as gpu_1x_a10 in us-east-1 at lambda" in ran.stderr


def test_nothing_is_ended_unasked_or_unknown(site: Site, inventory: Path, box: Box) -> None:
    site.machine("gpu")
    asked = box("down", "gpu")
    assert asked.returncode == 2
    assert "say --yes" in asked.stderr
    unknown = box("down", "other", "--yes")
    assert unknown.returncode == 2
    assert "no machine other was launched from here" in unknown.stderr
    assert len(site.api.running()) == 1


def test_types_have_prices_and_where_they_are_to_be_had(
    site: Site, inventory: Path, box: Box
) -> None:
    ran = box("types")
    kind, region = KINDS[site.cloud.provider]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith(kind)]
    assert region in line
    assert ("$0.75" in line) == (site.cloud.provider == "lambda")


@pytest.mark.parametrize("site", ["lambda"], indirect=True)
def test_without_credentials_it_says_which(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("LAMBDA_", "CRUSOE_"))]:
        monkeypatch.delenv(name)
    ran = box("list")
    assert ran.returncode == 1
    assert "error: there are no credentials for any cloud (export LAMBDA_API_KEY" in ran.stderr
