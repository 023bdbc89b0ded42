"""What `meta` tasks do to the run itself."""

from __future__ import annotations

from provisioner.engine.host import HostState
from provisioner.engine.setting import Setting


class EndHost(Exception):
    """The host is through with the play, and well."""


def carry_out(action: str, setting: Setting, host: HostState) -> None:
    """Do what a `meta` task says, `flush_handlers` aside. Raises EndHost."""
    if action in ("end_play", "end_batch"):
        setting.together.end()
        raise EndHost
    if action == "end_host":
        raise EndHost
    if action == "reset_connection":
        setting.pool.drop(host.target)
