"""The machine's tokens go to the tunnel's listener, and not to who else listens there."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from agent_scripted import ScriptedGateway

from provisioner.agent.gateway import Gateway
from provisioner.agent.http import Endpoint
from provisioner.agent.listener import dial_to, owner
from provisioner.agent.states import Action, Answer

ME = pwd.getpwuid(os.geteuid()).pw_name
ANOTHER = next(each.pw_name for each in pwd.getpwall() if each.pw_uid != os.geteuid())
TABLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
LINE = "   0: 0100007F:07CA 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid}\n"


def sent(gateway: ScriptedGateway, user: str) -> tuple[Answer, str]:
    """How a keepalive fares that only `user` may be sent."""
    endpoint = Endpoint("127.0.0.1", gateway.port)
    verdict = Gateway(endpoint, "a token", dial_to(endpoint, user)).send(Action.KEEPALIVE, {})
    return verdict.answer, verdict.reason


def test_the_right_users_listener_is_sent_to(gateway: ScriptedGateway) -> None:
    assert sent(gateway, ME)[0] is Answer.OK
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    "user, said",
    [(ANOTHER, f"{ANOTHER} does not listen there, so nothing is sent"), ("nosuch", "no user nosu")],
)
def test_nobody_else_is(gateway: ScriptedGateway, user: str, said: str) -> None:
    answer, reason = sent(gateway, user)
    assert answer is Answer.TROUBLE
    assert said in reason
    assert gateway.requests == []


@pytest.mark.parametrize("late", ["before", "after"])
def test_one_who_comes_in_between_is_seen(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    mine, other = os.geteuid(), os.geteuid() + 1
    owners = iter([other, mine] if late == "before" else [mine, other])
    monkeypatch.setattr("provisioner.agent.listener.owner", lambda *_: next(owners))
    assert sent(gateway, ME)[0] is Answer.TROUBLE
    assert gateway.requests == []


@pytest.mark.parametrize(
    "port, state, found", [(1994, "0A", 998), (1994, "01", None), (1995, "0A", None)]
)
def test_whose_it_is(tmp_path: Path, port: int, state: str, found: int | None) -> None:
    table = tmp_path / "tcp"
    table.write_text(TABLE + LINE.format(state=state, uid=998))
    assert owner(Endpoint("127.0.0.1", port), table) == found
