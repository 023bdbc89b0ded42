"""Hosts of an inventory that are machines of clouds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloud_sites import Site

from provisioner.cli.main import program
from provisioner.clouds import cached
from provisioner.clouds.box import Box
from provisioner.clouds.chosen import host_name, variables
from provisioner.clouds.record import Launched, Records
from provisioner.errors import BadInput
from provisioner.inventory import Inventory, describe, load_inventory

Load = Callable[..., Inventory]


@pytest.fixture
def load(tmp_path: Path, lambda_site: Site, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads an inventory whose one source has these settings."""
    monkeypatch.setattr(cached, "_PATIENT", 0.3)
    monkeypatch.setattr(cached, "_IMPATIENT", 0.3)

    def load(refresh: bool = False, more: Any = (), **settings: Any) -> Inventory:
        source = {"lambda": {"api": lambda_site.base, **settings}}
        content = {"sources": [source], **dict(more)}
        path = tmp_path / "inv.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_inventory(path, refresh=refresh)

    return load


def problem(load: Load, **given: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(**given)
    return str(caught.value)


def test_machines_are_hosts_with_what_the_cloud_says_of_them(load: Load, lambda_site: Site) -> None:
    made = lambda_site.machine("gpu", tags=[{"key": "team", "value": "ml"}])
    inventory = load(group="rented", more={"defaults": {"pool": "a10"}})
    host = inventory.hosts["gpu"]
    assert (host.address, host.user, host.groups) == (made.address, "ubuntu", ("rented",))
    cloud = host.variables["cloud"]
    assert (cloud["id"], cloud["region"], cloud["price"]) == (made.id, "us-east-1", 0.75)
    assert (cloud["tags"], cloud["gpus"]) == ({"team": "ml"}, 1)
    assert (host.variables["pool"], host.variables["private_ip"]) == ("a10", "10.19.0.5")
    assert [each.name for each in inventory.select("rented")] == ["gpu"]
    (found,) = inventory.sources
    assert (found.provider, found.hosts, found.age) == ("lambda", ("gpu",), 0.0)


def test_filters_are_by_name_tag_region_and_state(load: Load, lambda_site: Site) -> None:
    for name, region in (("gpu-1", "us-east-1"), ("gpu-2", "us-west-1"), ("web", "us-east-1")):
        lambda_site.machine(name, region, tags=[{"key": "team", "value": name}])
    assert list(load(names=["gpu-*"]).hosts) == ["gpu-1", "gpu-2"]
    assert list(load(regions=["us-west-1"]).hosts) == ["gpu-2"]
    assert list(load(tags=["team=web"]).hosts) == ["web"]
    assert list(load(tags=["team"], names=["web", "gpu-2"]).hosts) == ["gpu-2", "web"]
    assert list(load(states=["stopped"]).hosts) == []
    assert load(private=True, names=["web"]).hosts["web"].address == "10.19.0.5"


def test_who_logs_in_is_the_source_s_then_the_group_s_then_ubuntu(
    load: Load, lambda_site: Site
) -> None:
    lambda_site.machine("gpu")
    admin = {"groups": {"rented": {"user": "admin"}}}
    assert load().hosts["gpu"].user == "ubuntu"
    assert load(group="rented", more=admin).hosts["gpu"].user == "admin"
    assert load(group="rented", user="root", more=admin).hosts["gpu"].user == "root"
    assert load(more={"defaults": {"user": "me"}}).hosts["gpu"].user == "me"


def test_a_stated_host_adds_to_the_machine_of_its_name(load: Load, lambda_site: Site) -> None:
    made = lambda_site.machine("gpu")
    host = load(more={"hosts": {"gpu": {"pool": "special"}}}).hosts["gpu"]
    assert (host.address, host.variables["pool"]) == (made.address, "special")


def test_a_stated_host_with_an_address_is_none_of_the_cloud_s(
    load: Load, lambda_site: Site
) -> None:
    lambda_site.machine("gpu")
    inventory = load(more={"hosts": {"gpu": "198.51.100.7"}})
    assert inventory.hosts["gpu"].address == "198.51.100.7"
    assert "cloud" not in inventory.hosts["gpu"].variables
    assert "gpu is the inventory's own" in inventory.sources[0].warnings[0]


def test_two_machines_of_one_name_are_an_error_with_their_ids(
    load: Load, lambda_site: Site
) -> None:
    first, second = lambda_site.machine("gpu"), lambda_site.machine("gpu", "us-west-1")
    said = problem(load)
    assert "inv.yaml:2: two machines are called gpu" in said
    assert first.id in said
    assert second.id in said
    assert list(load(regions=["us-west-1"]).hosts) == ["gpu"]


def test_a_machine_without_an_address_is_left_out_and_told(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu")
    lambda_site.api.faults.late_address = 1
    inventory = load()
    assert inventory.hosts == {}
    assert "gpu" in inventory.sources[0].warnings[0]
    assert "no address yet" in inventory.sources[0].warnings[0]
    with pytest.raises(BadInput, match="its sources have no hosts"):
        inventory.select(None)


def test_what_a_provider_sends_is_never_a_template(load: Load, lambda_site: Site) -> None:
    bad = "{{ lookup('pipe', 'id') }}"
    lambda_site.machine("gpu", tags=[{"key": "a", "value": bad}, {"key": bad, "value": "b"}])
    assert load().hosts["gpu"].variables["cloud"]["tags"] == {}
    box = Box("1", bad, "lambda", "running", region=bad)
    assert (variables(box)["name"], variables(box)["region"]) == (None, None)
    assert host_name(box) == "lookup-pipe-id"
    assert host_name(replace(box, name="", id="0123456789")) == "lambda-01234567"


def test_an_address_that_is_an_option_is_refused(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu").address = "-oProxyCommand=id"
    assert "expected an IP address or host name" in problem(load)


def test_it_is_asked_once_in_a_while(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu-1")
    load()
    lambda_site.machine("gpu-2")
    again = load()
    assert list(again.hosts) == ["gpu-1"]
    assert 0 < again.sources[0].age < 60
    assert len(lambda_site.api.asked) == 1
    assert list(load(cache=0).hosts) == ["gpu-1", "gpu-2"]
    lambda_site.machine("gpu-3")
    assert len(load(refresh=True).hosts) == 3


def test_another_account_is_another_listing(
    load: Load, lambda_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lambda_site.machine("gpu")
    load()
    monkeypatch.setenv("LAMBDA_API_KEY", "another")
    assert "lambda does not know the API key" in problem(load)


def test_what_is_kept_is_the_user_s_own_and_without_secrets(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu")
    load(api_key="lambda-stand-in-key")
    (file,) = (Path(os.environ["XDG_CACHE_HOME"]) / "b9prov" / "clouds").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "token" not in file.read_text()
    assert "stand-in-key" not in file.read_text() + file.name


def test_a_provider_that_is_away_leaves_what_was_known_with_a_warning(
    load: Load, lambda_site: Site
) -> None:
    lambda_site.machine("gpu")
    load()
    lambda_site.api.faults.failing = 999
    inventory = load(refresh=True)
    assert list(inventory.hosts) == ["gpu"]
    (warning,) = inventory.sources[0].warnings
    assert "inv.yaml:2: lambda gives no answer" in warning
    assert "what it said 0:00:0" in warning


def test_without_anything_known_it_is_an_error_with_its_place(
    load: Load, lambda_site: Site
) -> None:
    lambda_site.api.faults.failing = 999
    assert "inv.yaml:2: lambda gives no answer at 127.0.0.1" in problem(load)


def test_a_broken_cache_is_no_cache(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu")
    load()
    (file,) = (Path(os.environ["XDG_CACHE_HOME"]) / "b9prov" / "clouds").iterdir()
    file.write_text('{"format": 1, "asked": 1e9, "boxes": [{"id"')
    assert list(load().hosts) == ["gpu"]


def test_the_host_key_of_what_was_launched_from_here_is_pinned(
    load: Load, lambda_site: Site
) -> None:
    made = lambda_site.machine("gpu")
    pin = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHenIrABVT6JxEiDpMRGE1MEzSwNXywjAjt44/aPnMjc"
    launched = Launched("gpu", "lambda", "t", "r", "inv", "m", 1.0, (pin,), "k", made.id)
    Records().put(launched)
    assert load().hosts["gpu"].host_key == pin


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([{"lambda": {}, "crusoe": {}}], "each is of one cloud"),
        ([{}], "each is of one cloud"),
        ([{"lamda": {}}], "unknown key 'lamda' in sources.0 (did you mean 'lambda'?)"),
        ([{"lambda": {"tag": ["a"]}}], "did you mean 'tags'?"),
        ([{"lambda": {"states": ["active"]}}], "one of starting, running"),
        ("lambda", "expected a list"),
        ([7], "expected a mapping"),
    ],
)
def test_a_source_that_is_wrong_is_explained(tmp_path: Path, sources: Any, said: str) -> None:
    path = tmp_path / "inv.yaml"
    path.write_text(yaml.safe_dump({"sources": sources}))
    with pytest.raises(BadInput) as caught:
        load_inventory(path)
    assert said in str(caught.value)


def test_a_bare_name_is_a_source(tmp_path: Path, crusoe_site: Site, user: Path) -> None:
    made = crusoe_site.machine("gpu")
    (user / ".crusoe").mkdir()
    (user / ".crusoe" / "config").write_text(f'[default]\napi_endpoint = "{crusoe_site.base}"\n')
    path = tmp_path / "inv.yaml"
    for text in ("sources: [crusoe]\n", "sources:\n- crusoe:\n"):
        path.write_text(text)
        assert load_inventory(path).hosts["gpu"].address == made.address


def test_a_secret_of_a_source_is_shown_to_nobody(load: Load, lambda_site: Site) -> None:
    lambda_site.machine("gpu")
    inventory = load(api_key="lambda-stand-in-key")
    assert "lambda-stand-in-key" not in str(describe(inventory))
    assert "lambda-stand-in-key" not in repr(inventory.sources)


def test_settings_can_be_made_of_what_the_cloud_says(
    load: Load, lambda_site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lambda_site.machine("gpu")
    settings = {"pool": "{{where}}", "vars": {"where": "in-{{ cloud.region }}"}}
    gateway = {"host": "192.0.2.1", "admin_token": "an-admin-token"}
    load(more={"gateway": gateway, "defaults": settings})
    with pytest.raises(SystemExit) as ended:
        program.main(["render", str(tmp_path / "inv.yaml")], prog_name="b9prov")
    said = capsys.readouterr()
    assert (ended.value.code or 0, said.err) == (0, "")
    assert "in-us-east-1" in said.out
