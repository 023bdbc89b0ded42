"""Launching: once each, whatever becomes of answers, providers and of us."""

from __future__ import annotations

import stat
import time

import pytest
from cloud_sites import LOGIN_KEY, Site

from provisioner.clouds import CloudError
from provisioner.clouds.launching import launch, wait_ended, wait_running
from provisioner.clouds.record import LAUNCHED, LOST, ORDERED, Launched, Records
from provisioner.errors import BadInput


def wanted(site: Site, name: str = "gpu") -> Launched:
    kind, region = ("gpu_1x_a10", "us-east-1")
    if site.cloud.provider == "crusoe":
        kind, region = ("a100-80gb.1x", "us-east1-a")
    return Launched(name, site.cloud.provider, kind, region, "inv", "", 0.0, (), LOGIN_KEY)


def begin(site: Site, records: Records, name: str = "gpu") -> Launched:
    return launch(site.cloud, records, wanted(site, name), None, print)


def wait(site: Site, records: Records, launched: Launched, seconds: float = 5.0) -> str | None:
    give_up = time.monotonic() + seconds
    running = wait_running(site.cloud.boxes, records, [launched], give_up, print)
    return running[launched.name].address


def test_a_machine_is_written_down_with_its_key_and_no_secret(site: Site) -> None:
    records = Records()
    launched = begin(site, records)
    (machine,) = site.api.running()
    assert (launched.id, launched.step) == (machine.id, LAUNCHED)
    assert records.all()["gpu"] == launched
    assert launched.host_keys[0] in machine.user_data
    assert stat.S_IMODE(records.path.stat().st_mode) == 0o600
    assert "PRIVATE" not in records.path.read_text()


def test_what_was_launched_is_not_launched_again(site: Site) -> None:
    records = Records()
    assert begin(site, records) == begin(site, records)
    assert len(site.api.running()) == 1


def test_what_was_launched_and_not_answered_is_found_again(site: Site) -> None:
    records = Records()
    site.api.faults.lose_answer = True
    with pytest.raises(CloudError):
        begin(site, records)
    before = records.all()["gpu"]
    assert (before.id, before.step) == (None, ORDERED)
    after = begin(site, records)
    (machine,) = site.api.running()
    assert (after.id, after.host_keys) == (machine.id, before.host_keys)


def test_what_was_refused_leaves_no_record(site: Site) -> None:
    site.api.faults.out_of_stock = True
    with pytest.raises(CloudError):
        begin(site, Records())
    assert Records().all() == {}


def test_what_was_ended_elsewhere_is_launched_anew(site: Site) -> None:
    records = Records()
    first = begin(site, records)
    site.api.end(site.api.machines[first.id or ""])
    second = begin(site, records)
    assert second.id != first.id
    assert second.host_keys != first.host_keys
    assert len(site.api.running()) == 1


def test_an_address_may_come_late(site: Site) -> None:
    site.api.faults.late_address = 3
    launched = begin(site, Records())
    assert wait(site, Records(), launched) == site.api.running()[0].address
    assert site.api.running()[0].looks > 3


def test_a_price_that_is_known_only_now_is_written_down(lambda_site: Site) -> None:
    launched = begin(lambda_site, Records())
    wait(lambda_site, Records(), launched)
    assert Records().all()["gpu"].price == 0.75


def test_a_machine_that_never_boots_is_given_up_in_time(site: Site) -> None:
    site.api.faults.never_boots = True
    launched = begin(site, Records())
    begun = time.monotonic()
    with pytest.raises(CloudError, match="time is up: gpu is still starting"):
        wait(site, Records(), launched, 0.3)
    assert time.monotonic() - begun < 3
    assert "gpu" in Records().all()


def test_a_machine_that_is_ended_under_our_hands_is_lost(site: Site) -> None:
    site.api.faults.ended_at = 2
    site.api.faults.late_address = 9
    launched = begin(site, Records())
    with pytest.raises(CloudError, match="is ended, and not by us"):
        wait(site, Records(), launched)
    assert Records().all()["gpu"].step == LOST


def test_the_end_of_machines_is_awaited(site: Site) -> None:
    one, other = site.machine("one"), site.machine("other")
    site.cloud.end(one.id)
    assert wait_ended(site.cloud.boxes, [one.id], time.monotonic() + 1) == []
    assert wait_ended(site.cloud.boxes, [other.id], time.monotonic() + 0.1) == [other.id]


def test_two_commands_do_not_launch_the_same_machine() -> None:
    with Records().held(["gpu-1", "gpu-2"]):
        with pytest.raises(BadInput, match="another `b9prov box` is at gpu-2"):
            Records().held(["gpu-2", "gpu-3"]).__enter__()
        with Records().held(["gpu-3"]):
            pass
    with Records().held(["gpu-2"]):
        pass


def test_a_name_is_no_path() -> None:
    with pytest.raises(BadInput, match="is no machine's name"):
        Records().held(["../../etc/passwd"]).__enter__()


def test_a_record_that_is_broken_is_not_taken_for_an_empty_one(site: Site) -> None:
    records = Records()
    begin(site, records)
    records.path.write_text(records.path.read_text()[:50])
    with pytest.raises(BadInput, match="can't understand"):
        records.all()
