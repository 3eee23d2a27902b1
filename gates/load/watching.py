"""A load as it stands now, for people who watch: from the generator's seconds to a small file that another process reads.

Base dependencies only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gates import codec
from gates.errors import GatesError
from gates.load.plan import LoadPlan

if TYPE_CHECKING:
    from gates.load.outcome import SecondReport

FILE = "live.json"
LAST = 5
"""Seconds whose latencies make the percentiles."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase or a fault as it was planned, in seconds from the start of load."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Live:
    """A load after so many *second*s of *seconds*.

    Attributes:
        asked, had: arrivals that were due in the last second, and those that ended.
        planned, due, done, errors: arrivals of the whole run, those taken up, those that ended, and those in an error.
        behind: arrivals that are due and have not been taken up.
        percentiles: of the last seconds' latencies, in seconds.
        failures: errors so far by the word of their class; *flows*: arrivals and errors so far by flow.
        late: in seconds, the latest arrival of the last second; *cpu*, *held*, *steal* of that second; None where unknown.
    """

    second: int
    seconds: float
    asked: int
    had: int
    planned: int
    due: int
    done: int
    errors: int
    behind: int
    percentiles: Mapping[str, float]
    failures: Mapping[str, int]
    flows: Mapping[str, tuple[int, int]]
    late: float
    cpu: float | None = None
    held: float | None = None
    steal: float | None = None
    stretches: tuple[Stretch, ...] = ()


@dataclass(slots=True)
class Watching:
    """Adds up a run's seconds and tells what it makes of them."""

    plan: LoadPlan
    tell: Callable[[Live], None]
    stretches: tuple[Stretch, ...] = ()
    _last: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=LAST))
    _failures: Counter[str] = field(default_factory=Counter)
    _flows: dict[str, tuple[int, int]] = field(default_factory=dict)
    _done: int = 0
    _errors: int = 0
    _scheduled: int = 0
    _second: int = 0

    def __call__(self, report: SecondReport) -> None:
        """A second is over."""
        self._last.append(report.latencies)
        self._done, self._errors = self._done + report.done, self._errors + report.errors
        for failure, count in report.failures.items():
            self._failures[failure.word] += count
        for flow, (count, errors) in report.flows.items():
            before = self._flows.get(flow, (0, 0))
            self._flows[flow] = (before[0] + count, before[1] + errors)
        asked, self._scheduled = report.scheduled - self._scheduled, report.scheduled
        lasted, self._second = max(1, report.second - self._second), report.second
        health = report.health
        self.tell(
            Live(
                report.second,
                self.plan.seconds,
                round(asked / lasted),
                round(report.done / lasted),
                self.plan.arrivals,
                report.due,
                self._done,
                self._errors,
                max(0, report.scheduled - report.due),
                self._percentiles(),
                dict(self._failures.most_common()),
                dict(self._flows),
                report.late,
                health.cpu if health else None,
                health.held if health else None,
                health.steal if health else None,
                self.stretches,
            )
        )

    def _percentiles(self) -> dict[str, float]:
        ordered = sorted(latency for second in self._last for latency in second)
        if not ordered:
            return {}
        return {name: ordered[min(len(ordered) - 1, int(q * len(ordered)))] for name, q in QUANTILES.items()}


def into(folder: Path) -> Callable[[Live], None]:
    """What keeps the latest state in *folder*, whole at every moment; a full disk costs the watching and not the run."""

    def keep(live: Live) -> None:
        try:
            codec.replace(folder / FILE, codec.dumps(live).encode())
        except OSError:
            return

    return keep


def read(folder: Path) -> Live | None:
    """The latest state in *folder*; None when there is none that can be read."""
    try:
        return codec.loads((folder / FILE).read_text(encoding="utf-8"), Live)
    except (OSError, ValueError, GatesError):
        return None
