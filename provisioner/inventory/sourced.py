"""Hosts that are not in the file: the machines of clouds, and those that a command has launched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.inventory import schema
from provisioner.inventory.merge import mark, marked, merge
from provisioner.inventory.model import Found
from provisioner.inventory.sections import values
from provisioner.yamlsource import MarkedDict

if TYPE_CHECKING:
    from provisioner.clouds import Box


def with_further(
    data: MarkedDict, further: Mapping[str, dict[str, Any]], found: tuple[Found, ...]
) -> MarkedDict:
    """`data` with these hosts, but for those that were `found`; what the file says of one of them
    goes over what is given here."""
    known = {name for each in found for name in each.hosts}
    lacking = {name: dict(entry) for name, entry in further.items() if name not in known}
    return _with_hosts(data, mark(lacking, data.source)) if lacking else data


def _with_hosts(data: MarkedDict, entries: MarkedDict) -> MarkedDict:
    """`data` with these hosts below and after its own."""
    own = data.get("hosts") or marked(data.source, {})
    both = merge(entries, own)
    order = [*own, *(name for name in entries if name not in own)]
    result = marked(data.source, data, data.key_sources)
    result["hosts"] = marked(own.source, {name: both[name] for name in order}, both.key_sources)
    return result


def with_machines(data: MarkedDict, refresh: bool) -> tuple[MarkedDict, tuple[Found, ...]]:
    """`data` with the machines of its sources as hosts, and what each source had.

    A host that the file has with an address of its own is the file's. Raises BadInput.
    """
    result, found, problems = data, [], []
    taken: dict[str, Box] = {}
    for index, one in enumerate(data.get("sources", ())):
        where = data["sources"].item_sources[index]
        ((provider, own),) = one.items()
        section = schema.CLOUDS[provider].kind
        assert isinstance(section, type)
        settings = values(section, own)
        try:
            machines = _Machines(provider, settings, where, refresh)
        except BadInput as error:
            problems += error.problems
            continue
        problems += machines.clashes(taken)
        result = machines.added_to(result, data)
        found.append(machines.found(result))
    if problems:
        raise BadInput(problems)
    return result, tuple(found)


class _Machines:
    """Those of one source. Raises BadInput when it can't be asked."""

    def __init__(
        self, provider: str, settings: dict[str, Any], where: Source, refresh: bool
    ) -> None:
        # what a cloud takes is loaded where there is one
        from provisioner.clouds.cached import list_boxes
        from provisioner.clouds.chosen import chosen, host_name
        from provisioner.clouds.errors import CloudError

        self.provider, self.settings, self.where = provider, settings, where
        try:
            listing = list_boxes(provider, settings, settings["cache"], refresh)
        except CloudError as error:
            raise BadInput.of(str(error), where, error.advice) from None
        self.age, self.warnings = listing.age, [listing.warning] if listing.warning else []
        self.boxes: list[tuple[str, Box]] = []
        for box in chosen(listing.boxes, settings):
            if self._address(box):
                self.boxes.append((host_name(box), box))
            else:
                self.warnings.append(
                    f"{provider} {box.id} ({host_name(box)}) has no address yet: it is left out"
                )

    def clashes(self, taken: dict[str, Box]) -> Iterator[Problem]:
        """Machines of one name; `taken` are those of earlier sources, and gets these."""
        for name, box in list(self.boxes):
            other = taken.setdefault(name, box)
            if (other.provider, other.id) != (box.provider, box.id):
                yield Problem(
                    f"two machines are called {name}: {other.provider} {other.id} and "
                    f"{box.provider} {box.id}",
                    self.where,
                    "rename one at its provider, or leave it out by names, tags or regions",
                )
            elif other is not box:  # an earlier source has it
                self.boxes.remove((name, box))

    def added_to(self, data: MarkedDict, stated: MarkedDict) -> MarkedDict:
        """`data` with these; `stated` is what the file has."""
        none = marked(self.where, {})
        kept = []
        for name, box in self.boxes:
            if (stated.get("hosts") or none).get(name, none).get("address"):
                self.warnings.append(
                    f"{name} is the inventory's own; {self.provider} {box.id} of that name is left "
                    "out"
                )
            else:
                kept.append((name, box))
        self.boxes = kept
        pins = _pins()
        entries = mark({name: self._entry(box, data, pins) for name, box in kept}, self.where)
        result = _with_hosts(data, entries)
        group = self.settings["group"]
        if group and group not in (data.get("groups") or none):
            result["groups"] = merge(data.get("groups") or none, mark({group: {}}, self.where))
        return result

    def found(self, data: MarkedDict) -> Found:
        """What there was."""
        names = tuple(name for name, _ in self.boxes)
        warnings = tuple(f"{self.where}: {each}" for each in self.warnings)
        return Found(self.provider, names, self.age, warnings, self.settings)

    def _address(self, box: Box) -> str | None:
        return box.private_address if self.settings["private"] else box.address

    def _entry(self, box: Box, data: MarkedDict, pins: dict[str, str]) -> dict[str, Any]:
        from provisioner.clouds.chosen import variables

        group = self.settings["group"]
        entry: dict[str, Any] = {
            "address": self._address(box),
            "vars": {"cloud": variables(box)},
            "groups": [group] if group else [],
        }
        above = [data.get("defaults"), (data.get("groups") or {}).get(group)]
        if self.settings["user"] or not any((layer or {}).get("user") for layer in above):
            entry["user"] = self.settings["user"] or box.user
        if pin := pins.get(f"{box.provider} {box.id}"):
            entry["host_key"] = pin
        if box.private_address:
            entry["private_ip"] = box.private_address
        return entry


def _pins() -> dict[str, str]:
    """The host keys of the machines that were launched from here, by provider and id."""
    from provisioner.clouds.record import Records

    return {f"{each.provider} {each.id}": each.host_keys[0] for each in Records().all().values()}
