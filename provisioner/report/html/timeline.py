"""Tasks on a common scale of time, as numbers of percent."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.report.html.story import Host, Story
from provisioner.report.text import duration

_MOST_TICKS = 8
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_THINNEST = 0.15  # percent, below which nothing would be seen


@dataclass(frozen=True)
class Bar:
    """A stretch of a lane. `kind` is the status of a task, or `connect`."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True)
class Tick:
    """A mark of the scale."""

    x: float
    label: str


@dataclass(frozen=True)
class Scale:
    """From Unix seconds to percent of the run."""

    begun: float
    seconds: float

    @classmethod
    def of(cls, story: Story) -> Scale:
        """The scale on which all of the run is to be seen; hosts may be called before it begins."""
        return cls(story.begun, max(0.001, story.ended - story.begun))

    def bar(self, kind: str, begun: float, ended: float) -> Bar:
        """The bar of that time, as far as it is within the run."""
        x = self._percent(begun)
        wide = max(_THINNEST, self._percent(ended) - x)
        return Bar(kind, round(min(x, 100 - wide), 2), round(wide, 2))

    @property
    def step(self) -> float:
        """Seconds between two marks."""
        fitting = (step for step in _STEPS if self.seconds / step <= _MOST_TICKS)
        return next(fitting, self.seconds / _MOST_TICKS)

    @property
    def stride(self) -> float:
        """Percent between two marks."""
        return round(100 * self.step / self.seconds, 4)

    def ticks(self) -> list[Tick]:
        """The marks, but for those where the label of the first or of the end stands."""
        count = int(self.seconds / self.step)
        marks = [(index * self.stride, index * self.step) for index in range(1, count + 1)]
        inner = [Tick(round(x, 2), _label(second)) for x, second in marks if x < 93]
        return [Tick(0, "0"), *inner]

    def _percent(self, moment: float) -> float:
        return 100 * min(1.0, max(0.0, (moment - self.begun) / self.seconds))


def lane(host: Host, scale: Scale) -> list[Bar]:
    """What a host did: its connecting, then its tasks in order; a skipped one takes no time."""
    bars = []
    if host.connected is not None:
        bars.append(scale.bar("connect", host.connected - host.connecting, host.connected))
    bars += [
        scale.bar(task.status, task.begun, task.ended)
        for task in host.tasks
        if task.status != "skipped"
    ]
    if host.lost is not None:
        if host.connected is None:
            bars.append(scale.bar("connect", scale.begun, host.lost))
        bars.append(scale.bar("unreachable", host.lost, host.lost))
    return bars


def _label(seconds: float) -> str:
    return f"{seconds:g}s" if seconds < 60 else duration(seconds).replace(" 00s", "")
