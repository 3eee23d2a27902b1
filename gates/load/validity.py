"""Whether a load measurement is one at all: criteria of its own, built in, at worst inconclusive.

- `valid.unsent`: arrivals that never got a connection. Beyond 0.1 % the scenario's connections, not the target, decided.
- `valid.lateness`: how late the generator took arrivals up. Beyond a tenth of the tightest latency limit it could decide.
- `valid.steal`: the hypervisor's part of the machine's time. Shared machines are seen at 0 to 20 % with sound measurements;
  beyond 25 % every fourth wake-up of everything, target and generator, is somebody else's doing.
- `valid.cpu`: the part of a core that the generator's thread took. Beyond 90 % it was as fast as it can be, and what waits for
  it waits for us. A generator that spins takes a whole core on purpose; its lateness tells.
- `valid.clock`: a wall clock that steps, against the monotonic one, makes logs, evidence and probes disagree about time.
"""

from __future__ import annotations

from collections.abc import Iterable

from gates.model import Comparator, Comparison, Criterion, MetricSpec, Rule, Unit
from gates.quantity import show

UNSENT = "valid.unsent"
LATENESS = "valid.lateness"
STEAL = "valid.steal"
CPU = "valid.cpu"
CLOCK = "valid.clock"

MOST_UNSENT = 0.001
MOST_STEAL = 0.25
MOST_CPU = 0.9
MOST_JUMP = 0.050
LATENESS_WITHOUT_LIMIT = 0.025
PART_OF_THE_LIMIT = 0.1

METRICS = (
    MetricSpec(UNSENT, Unit.RATIO, Rule.SINGLE, "Part of the arrivals that were never sent."),
    MetricSpec(LATENESS, Unit.SECONDS, Rule.SINGLE, "99th percentile of how late the generator took arrivals up."),
    MetricSpec(STEAL, Unit.RATIO, Rule.SINGLE, "Part of the machine's processor time that the hypervisor took."),
    MetricSpec(CPU, Unit.RATIO, Rule.SINGLE, "Processor time of the generator's thread, as a part of one core."),
    MetricSpec(CLOCK, Unit.SECONDS, Rule.SINGLE, "Step of the wall clock against the monotonic clock during the run."),
)


def valid_criteria(criteria: Iterable[Criterion], *, latest: float | None = None, spins: bool = False) -> tuple[Criterion, ...]:
    """The built-in criteria of a gate that has *criteria*, whose tightest latency limit bounds the lateness, unless *latest*
    does, in seconds. A generator that *spins* takes all of its core, so that nothing is to be learned from that.
    """
    late = most_lateness(criteria) if latest is None else latest
    busy = _at_most(CPU, Unit.RATIO, MOST_CPU, "The generator was not the bottleneck.")
    return (
        _at_most(UNSENT, Unit.RATIO, MOST_UNSENT, "The load was offered as planned."),
        _at_most(LATENESS, Unit.SECONDS, late, "The generator was on time.", machine=True),
        *(() if spins else (busy,)),
        _at_most(STEAL, Unit.RATIO, MOST_STEAL, "The machine was ours.", machine=True),
        _at_most(CLOCK, Unit.SECONDS, MOST_JUMP, "The clock did not step.", machine=True),
    )


def most_lateness(criteria: Iterable[Criterion]) -> float:
    """A tenth of the tightest upper latency limit in seconds, or 25 ms when there is none."""
    limits = [
        comparison.limit
        for criterion in criteria
        if criterion.metric.startswith(("latency.", "service."))
        for comparison in criterion.comparisons
        if comparison.comparator in (Comparator.BELOW, Comparator.AT_MOST)
    ]
    return min(limits) * PART_OF_THE_LIMIT if limits else LATENESS_WITHOUT_LIMIT


def _at_most(name: str, unit: Unit, limit: float, summary: str, *, machine: bool = False) -> Criterion:
    comparison = Comparison(Comparator.AT_MOST, limit, text=show(limit, unit))
    return Criterion(name, unit, Rule.SINGLE, (comparison,), 1, built_in=True, machine=machine, summary=summary)
