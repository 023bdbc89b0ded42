"""The clients against stand-ins of the providers: what they read, ask and make of errors."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from cloud_sites import LOGIN_KEY, Site

from provisioner.clouds import Cloud, CloudError, Order, lambda_cloud, open_cloud
from provisioner.clouds.bootkey import HostKey
from provisioner.clouds.crusoe import signature
from provisioner.clouds.crusoe_login import API, Login
from provisioner.clouds.errors import (
    CREDENTIALS,
    FORBIDDEN,
    OUT_OF_STOCK,
    REFUSED,
    TOO_MANY,
    UNAUTHORIZED,
    UNREACHABLE,
)
from provisioner.lab.standins.clouds.lambda_stand_in import LambdaStandIn
from provisioner.secrets import Secret


def order(site: Site, **more: Any) -> Order:
    kind, region = ("gpu_1x_a10", "us-east-1")
    if site.cloud.provider == "crusoe":
        kind, region = ("a100-80gb.1x", "us-east1-a")
    made = Order("gpu", kind, region, LOGIN_KEY, HostKey.made(), "a-mark")
    return replace(made, **more)


def failure(cloud: Cloud) -> CloudError:
    with pytest.raises(CloudError) as caught:
        cloud.boxes()
    return caught.value


def test_lambda_tells_addresses_prices_and_tags(lambda_site: Site) -> None:
    made = lambda_site.machine("gpu", tags=[{"key": "team", "value": "ml"}])
    (box,) = lambda_site.cloud.boxes()
    assert (box.id, box.name, box.state, box.address) == (made.id, "gpu", "running", made.address)
    assert (box.private_address, box.region, box.type) == ("10.19.0.5", "us-east-1", "gpu_1x_a10")
    assert (box.gpus, box.price, box.tags, box.user) == (1, 0.75, {"team": "ml"}, "ubuntu")


def test_crusoe_tells_addresses_and_gpus_of_all_pages(crusoe_site: Site) -> None:
    made = [crusoe_site.machine(f"gpu-{number}") for number in range(5)]
    boxes = crusoe_site.cloud.boxes()
    assert [box.id for box in boxes] == [each.id for each in made]
    assert boxes[0].address == made[0].address
    assert (boxes[0].private_address, boxes[0].gpus, boxes[0].price) == ("172.27.0.5", 1, None)


def test_a_jupyter_token_is_not_kept(lambda_site: Site) -> None:
    lambda_site.machine("gpu")
    assert "jupyter" not in json.dumps([asdict(box) for box in lambda_site.cloud.boxes()])


def test_what_may_be_absent_may_be_absent(site: Site) -> None:
    site.machine("gpu")
    site.api.faults.sparse = True
    (box,) = site.cloud.boxes()
    assert (box.address, box.price, box.tags) == (None, None, {})


def test_kinds_have_the_regions_that_have_one_now(site: Site) -> None:
    kinds = {kind.name: kind for kind in site.cloud.kinds()}
    if site.cloud.provider == "lambda":
        assert kinds["gpu_1x_a10"].regions == ("us-east-1", "us-west-1")
        assert kinds["gpu_8x_h100_sxm5"].regions == ()
        assert kinds["gpu_8x_h100_sxm5"].price == 23.92
    else:
        assert kinds["a100-80gb.1x"].regions == ("us-east1-a",)


def test_requests_are_as_far_apart_as_lambda_wants(
    lambda_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_cloud, "PACE", 0.15)
    for _ in range(3):  # whoever asks
        open_cloud("lambda", lambda_site.settings).boxes()
    first, second, third = lambda_site.api.times
    assert min(second - first, third - second) > 0.12


def test_too_many_requests_are_repeated_when_the_provider_says(site: Site) -> None:
    site.api.faults.too_many = 1
    begun = time.monotonic()
    assert site.cloud.boxes() == []
    assert time.monotonic() - begun > 0.9  # its Retry-After


def test_too_many_requests_for_too_long_are_said_to_be(lambda_site: Site) -> None:
    lambda_site.api.faults.too_many = 99
    hurried = open_cloud("lambda", lambda_site.settings, 0.5)
    error = failure(hurried)
    assert (error.code, "429" in str(error)) == (TOO_MANY, True)


def test_a_server_that_stumbles_is_asked_again(site: Site) -> None:
    site.api.faults.failing = 3
    assert site.cloud.boxes() == []


def test_bad_credentials_name_where_they_come_from(site: Site) -> None:
    site.api.faults.unauthorized = True
    error = failure(site.cloud)
    assert error.code == UNAUTHORIZED
    variable = "LAMBDA_API_KEY" if site.cloud.provider == "lambda" else "CRUSOE_SECRET_KEY"
    assert variable in error.advice
    assert len(site.api.asked) == 1  # again would not help


def test_what_is_forbidden_is_told_with_the_provider_s_words(site: Site) -> None:
    site.api.faults.forbidden = True
    error = failure(site.cloud)
    assert error.code == FORBIDDEN
    assert "Quota exceeded" in str(error)


def test_a_provider_that_is_away_is_named(lambda_site: Site) -> None:
    gone = open_cloud("lambda", {"api": "http://127.0.0.1:1/api/v1"}, 0.1)
    error = failure(gone)
    assert error.code == UNREACHABLE
    assert "127.0.0.1:1: Connection refused" in str(error)


def test_a_key_goes_nowhere_in_the_clear() -> None:
    with pytest.raises(CloudError, match="in the clear"):
        open_cloud("lambda", {"api": "http://proxy.example.org/api/v1"})


def test_without_a_key_it_says_where_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMBDA_API_KEY")
    with pytest.raises(CloudError) as caught:
        open_cloud("lambda", {})
    assert caught.value.code == CREDENTIALS
    assert "https://cloud.lambda.ai/api-keys" in caught.value.advice


def test_a_launch_gives_the_machine_its_host_key_and_our_login(site: Site) -> None:
    wanted = order(site)
    made = site.cloud.launch(wanted)
    (machine,) = site.api.running()
    assert machine.id == made
    assert machine.login_key == LOGIN_KEY
    assert wanted.host_key.public in machine.user_data
    private = wanted.host_key.private.reveal().strip()
    assert private in machine.user_data.replace("\\n", "\n")


def test_lambda_gets_our_login_key_once_and_it_goes_again(lambda_site: Site) -> None:
    assert isinstance(lambda_site.api, LambdaStandIn)
    for name in ("gpu-1", "gpu-2"):
        lambda_site.cloud.launch(order(lambda_site, name=name))
    (key,) = lambda_site.api.keys.values()
    assert key["public_key"] == LOGIN_KEY
    lambda_site.cloud.tidy(LOGIN_KEY)
    assert lambda_site.api.keys == {}


def test_a_login_key_of_the_user_s_own_is_used_and_stays(lambda_site: Site) -> None:
    assert isinstance(lambda_site.api, LambdaStandIn)
    own = {"id": "k", "name": "mine", "public_key": f"{LOGIN_KEY} me@here"}
    lambda_site.api.keys["mine"] = own
    lambda_site.cloud.launch(order(lambda_site))
    lambda_site.cloud.tidy(LOGIN_KEY)
    assert lambda_site.api.keys == {"mine": own}


def test_out_of_stock_says_where_there_are_some(lambda_site: Site) -> None:
    with pytest.raises(CloudError) as caught:
        lambda_site.cloud.launch(order(lambda_site, region="europe-central-1"))
    assert caught.value.code == OUT_OF_STOCK
    assert "us-east-1, us-west-1" in caught.value.advice


def test_out_of_stock_of_an_operation_is_out_of_stock(crusoe_site: Site) -> None:
    crusoe_site.api.faults.out_of_stock = True
    with pytest.raises(CloudError) as caught:
        crusoe_site.cloud.launch(order(crusoe_site))
    assert caught.value.code == OUT_OF_STOCK


def test_a_launch_whose_answer_is_lost_is_not_repeated(site: Site) -> None:
    site.api.faults.lose_answer = True
    with pytest.raises(CloudError) as caught:
        site.cloud.launch(order(site))
    assert caught.value.ambiguous
    assert len(site.api.running()) == 1


def test_what_was_refused_is_told_in_the_provider_s_words(site: Site) -> None:
    with pytest.raises(CloudError) as caught:
        site.cloud.launch(order(site, type="potato.1x"))
    assert caught.value.code == REFUSED
    assert not caught.value.ambiguous


def test_what_is_ended_already_can_be_ended_again(site: Site) -> None:
    made = site.machine("gpu")
    for _ in range(2):
        site.cloud.end(made.id)
    assert site.api.running() == []


def test_a_signature_is_what_openssl_makes_of_the_documented_text() -> None:
    lines = ["/v1/compute/vms", "limit=2&sort=created_at", "GET", "2026-01-01T00:00:00+00:00"]
    text = "".join(f"{line}\n" for line in lines).encode()
    argv = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:00ff7e3f", "-binary"]
    raw = subprocess.run(argv, input=text, capture_output=True, check=True).stdout
    wanted = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    key = Secret(base64.urlsafe_b64encode(bytes.fromhex("00ff7e3f")).decode().rstrip("="))
    assert signature(key, *lines) == wanted


def test_crusoe_s_own_file_is_read_and_the_environment_goes_over_it(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CRUSOE_ACCESS_KEY_ID", "CRUSOE_SECRET_KEY", "CRUSOE_DEFAULT_PROJECT"):
        monkeypatch.delenv(variable)
    (user / ".crusoe").mkdir()
    (user / ".crusoe" / "config").write_text(
        'profile = "work"  # which\n[default]\naccess_key_id = "wrong"\n'
        '[work]\naccess_key_id="AK"\nsecret_key = "c2VjcmV0"\ndefault_project=\'p-1\'\n'
    )
    login = Login.of({})
    assert (login.access_key, login.secret_key, login.project) == ("AK", "c2VjcmV0", "p-1")
    assert login.api == API
    monkeypatch.setenv("CRUSOE_DEFAULT_PROJECT", "p-2")
    assert Login.of({}).project == "p-2"
    assert Login.of({"project": "p-3"}).project == "p-3"
    with pytest.raises(CloudError, match="CRUSOE_SECRET_KEY not given"):
        Login.of({"profile": "default"})
    with pytest.raises(CloudError, match="no profile 'home'"):
        Login.of({"profile": "home"})


def test_the_start_script_is_sound_shell_and_works_once() -> None:
    script = HostKey.made().script()
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0
    assert script.index("b9prov-host-key ] || exit 0") < script.index("rm -f")
