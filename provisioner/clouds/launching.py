"""From nothing to machines that run: ordered once each, whatever happens in between."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from provisioner.clouds import box as states
from provisioner.clouds.bootkey import HostKey
from provisioner.clouds.box import Box, Cloud, Order
from provisioner.clouds.errors import GONE, UNREACHABLE, CloudError
from provisioner.clouds.record import LAUNCHED, ORDERED, Launched, Records

_FIRST_LOOK, _LONGEST = 1.0, 10.0  # seconds between two looks
_MAY_SHOW = 15.0  # seconds that a machine which was ordered is looked for
Tell = Callable[[str], None]
Look = Callable[[], list[Box]]


def launch(
    cloud: Cloud,
    records: Records,
    wanted: Launched,
    image: str | None,
    tell: Tell,
    tags: Mapping[str, str] | None = None,
) -> Launched:
    """A machine as `wanted`, which is as recorded if it was begun before. It is ordered when it is
    not there yet, and ordered only once. Raises CloudError."""
    before = records.all().get(wanted.name)
    if before:
        there = _looked_for(before, cloud)
        if there and there.state != states.ENDED:
            tell(f"{before.name} is there: {before.provider} {there.id}")
            begun = LAUNCHED if before.step == ORDERED else before.step
            return records.put(replace(before, id=there.id, step=begun))
        tell(f"{before.name} is no longer there; another one is launched")
    key = HostKey.made()
    fresh = replace(
        wanted, mark=secrets.token_hex(8), ordered_at=time.time(), host_keys=(key.public,)
    )
    records.put(fresh)
    order = Order(
        fresh.name,
        fresh.type,
        fresh.region,
        fresh.login_key,
        key,
        fresh.mark,
        image,
        dict(tags or {}),
    )
    try:
        made = cloud.launch(order)
    except CloudError as error:
        if not error.ambiguous:  # it was refused: there is nothing
            records.drop(fresh.name)
        raise
    if made is None:
        there = found_of(fresh, cloud.boxes())
        made = there.id if there else None
    return records.put(replace(fresh, id=made, step=LAUNCHED))


def _looked_for(before: Launched, cloud: Cloud) -> Box | None:
    """The machine, if it is there; one that was just ordered, without an answer, may yet show."""
    give_up = time.monotonic() + (_MAY_SHOW if before.id is None else 0.0)
    while True:
        there = found_of(before, cloud.boxes())
        if there or time.monotonic() > give_up:
            return there
        time.sleep(_FIRST_LOOK)


def found_of(launched: Launched, boxes: Sequence[Box]) -> Box | None:
    """The machine that was launched: by its id, else by its mark, else by its name alone."""
    if launched.id:
        return next((box for box in boxes if box.id == launched.id), None)
    marked = [box for box in boxes if launched.mark in box.tags.values()]
    alike = [box for box in boxes if box.name == launched.name and box.state != states.ENDED]
    found = marked or (alike if len(alike) == 1 and not alike[0].tags else [])
    return found[0] if found else None


def wait_running(
    look: Look, records: Records, launched: Sequence[Launched], give_up: float, tell: Tell
) -> dict[str, Box]:
    """Each machine by name, once it runs and has an address; `look` lists the account's, `give_up`
    is of time.monotonic.

    Raises CloudError when one is ended meanwhile, or is not there by then.
    """
    running: dict[str, Box] = {}
    told: dict[str, str] = {}
    seen: set[str] = set()
    pause = _FIRST_LOOK
    while True:
        boxes = look()
        for each in launched:
            box = found_of(each, boxes)
            state = _state(box, each.name in seen)
            if box:
                seen.add(each.name)
                if each.id is None or each.price is None:
                    records.put(replace(each, id=box.id, price=box.price, step=each.step))
            if box and box.state == states.RUNNING and box.address:
                running[each.name] = box
            elif state in (states.ENDED, states.UNHEALTHY, states.STOPPED):
                if state == states.ENDED:
                    records.lose(each.name)
                raise CloudError(
                    GONE,
                    f"{each.name} ({each.provider} {each.id}) is {state}, and not by us",
                    "look at the provider's console; `b9prov box down` ends what is left of it",
                )
            if told.get(each.name) != state:
                told[each.name] = state
                tell(f"{each.name}: {state}")
        lacking = [each for each in launched if each.name not in running]
        if not lacking:
            return running
        if time.monotonic() + pause > give_up:
            last = ", ".join(f"{each.name} is still {told[each.name]}" for each in lacking)
            raise CloudError(
                UNREACHABLE,
                f"time is up: {last}",
                "go on later with the same command, or wait longer with --wait",
            )
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST)


def wait_ended(look: Look, ids: Sequence[str], give_up: float) -> list[str]:
    """The ids of the machines that are not ended by then."""
    pause = _FIRST_LOOK
    while True:
        left = [box.id for box in look() if box.id in ids and box.state != states.ENDED]
        if not left or time.monotonic() + pause > give_up:
            return left
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST)


def _state(box: Box | None, seen: bool) -> str:
    if box is None:
        return states.ENDED if seen else "not listed yet"
    if box.state == states.RUNNING and not box.address:
        return "running, without an address yet"
    return box.state
