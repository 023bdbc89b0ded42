"""Stand-ins of clouds on loopback, and a user with their credentials and a home of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_sites import Site

from provisioner.clouds import crusoe as crusoe_cloud
from provisioner.clouds import http, lambda_cloud, launching, open_cloud
from provisioner.lab.standins.clouds import crusoe_stand_in as crusoe_api
from provisioner.lab.standins.clouds import lambda_stand_in as lambda_api
from provisioner.lab.standins.clouds.cloud_stand_in import CloudStandIn


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user with credentials; nobody waits long."""
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    for variable in ("CRUSOE_PROFILE", "CRUSOE_API_ENDPOINT", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LAMBDA_API_KEY", lambda_api.API_KEY)
    monkeypatch.setenv("CRUSOE_ACCESS_KEY_ID", crusoe_api.ACCESS_KEY)
    monkeypatch.setenv("CRUSOE_SECRET_KEY", crusoe_api.SECRET_KEY)
    monkeypatch.setenv("CRUSOE_DEFAULT_PROJECT", crusoe_api.PROJECT)
    monkeypatch.setattr(lambda_cloud, "PACE", 0.0)
    monkeypatch.setattr(lambda_cloud, "LAUNCH_PACE", ("launch", 0.0))
    monkeypatch.setattr(crusoe_cloud, "PACE", 0.0)
    monkeypatch.setattr(crusoe_cloud, "_LOOK_AGAIN", 0.01)
    monkeypatch.setattr(http, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(launching, "_FIRST_LOOK", 0.02)
    monkeypatch.setattr(launching, "_MAY_SHOW", 0.2)
    home = tmp_path / "home"
    home.mkdir()
    return home


def _site(api: CloudStandIn, provider: str) -> Iterator[Site]:
    with api.serving() as base:
        settings = {"api": base}
        yield Site(api, base, open_cloud(provider, settings, 5.0), settings)


@pytest.fixture
def lambda_site() -> Iterator[Site]:
    yield from _site(lambda_api.LambdaStandIn(), "lambda")


@pytest.fixture
def crusoe_site() -> Iterator[Site]:
    yield from _site(crusoe_api.CrusoeStandIn(), "crusoe")


@pytest.fixture(params=["lambda", "crusoe"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Either."""
    api = lambda_api.LambdaStandIn if request.param == "lambda" else crusoe_api.CrusoeStandIn
    yield from _site(api(), request.param)
