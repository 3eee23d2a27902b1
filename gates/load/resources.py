"""What the target's own processes took of the machine, as numbers: catalogue, plan and measurements. Base dependencies only.

Every number is of one process with all that descends from it, or of all processes together. A process that was gone for a part
of a phase, or was never sampled, has no measurement in it: what nobody saw is never a pass.
"""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gates import registry
from gates.load.sampler import PERIOD, Sample, Taken
from gates.model import Criterion, KindContext, Measurement, MetricSpec, Rule, Samples, Unit

ALL = "*"
BLIND = 1.0
"""Seconds for which a phase may go unsampled, at its ends or in between."""
FEWEST = 4
FEWEST_TO_GROW = 12
SECOND = 1.0
_HIGHEST = {
    "rss": (Unit.BYTES, "resident memory"),
    "files": (Unit.COUNT, "open file descriptors"),
    "sockets": (Unit.COUNT, "open sockets"),
    "threads": (Unit.COUNT, "threads"),
}
_COUNTED = {
    "disk.read": "Bytes that the storage was asked for.",
    "disk.written": "Bytes that were handed to the storage.",
    "network.received": "Bytes that came in, for a process in a network namespace of its own.",
    "network.sent": "Bytes that went out, for a process in a network namespace of its own.",
}
SHARED = (
    "the kernel counts bytes by network namespace, not by process, and {names} has none of its own: "
    "sockets.* says how many connections it holds"
)
Span = tuple[float, float]


def catalogue(phases: tuple[str, ...]) -> tuple[MetricSpec, ...]:
    """The metrics of resources; *phases* are those that they can be asked for."""
    return tuple(replace(spec, phases=phases, selectors=True) for spec in _SPECS)


_SPECS = (
    MetricSpec("cpu.mean", Unit.RATIO, Rule.SINGLE, "Processor time of the target, as a part of one core.", at_least=FEWEST),
    MetricSpec("cpu.max", Unit.RATIO, Rule.SINGLE, "The most processor time in any second, as a part of one core.", at_least=8),
    *(
        spec
        for name, (unit, what) in _HIGHEST.items()
        for spec in (
            MetricSpec(f"{name}.max", unit, Rule.SINGLE, f"The most {what} of the target.", at_least=FEWEST),
            MetricSpec(
                f"{name}.growth",
                unit,
                Rule.SINGLE,
                f"Median of {what} in the last third of the time, less that in the first.",
                at_least=FEWEST_TO_GROW,
            ),
        )
    ),
    *(MetricSpec(name, Unit.BYTES, Rule.SINGLE, summary, at_least=FEWEST) for name, summary in _COUNTED.items()),
)
NAMES = frozenset(spec.name for spec in _SPECS)


# --- before the run ---------------------------------------------------------------------------------------------------


def processes_of(context: KindContext) -> tuple[str, ...]:
    """Names of the processes that the target of *context* will have; none of what runs already."""
    target = context.target
    preset = context.plugins(registry.TARGETS).get(target.preset) if target else None
    if target is None or preset is None:
        return ()
    layout = preset.layout(preset.settings.model_validate(dict(target.settings)))
    return tuple(spec.name for spec in layout.processes if not spec.proxy)


def check_resources(criteria: Iterable[Criterion], context: KindContext) -> None:
    """Report criteria over resources of a target, or of a process, that we don't start, at their lines."""
    asked = [each for each in criteria if each.metric in NAMES]
    names = processes_of(context) if asked else ()
    for criterion in asked:
        where = f"criteria.{criterion.id}"
        if not names:
            hint = "let the gate start the target, with a preset such as `command`"
            context.error(where, f"{criterion.metric} is of processes, and this target has none that we start", hint)
        elif criterion.selector not in ("", ALL, *names):
            close = difflib.get_close_matches(criterion.selector, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
            context.error(where, f"the target has no process {criterion.selector!r}", hint)


def planned_samples(criteria: Iterable[Criterion], phases: Mapping[str, Span], seconds: float) -> dict[str, Samples]:
    """How often each of *criteria* over resources is sampled in a load of *seconds* with *phases*, by its id."""
    found = {}
    for criterion in criteria:
        if criterion.metric in NAMES and (not criterion.phase or criterion.phase in phases):
            start, end = phases.get(criterion.phase, (0.0, seconds))
            found[criterion.id] = Samples(max(0, math.floor((end - start) / PERIOD)), _advice)
    return found


def _advice(needed: int) -> str:
    return f"a phase of {needed * PERIOD:g} s would do: resources are looked at every {PERIOD * 1e3:g} ms"


# --- after it ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resources:
    """The measurements, and why a metric has none, by metric."""

    measurements: tuple[Measurement, ...]
    absent: Mapping[str, str]


def measured(taken: Taken, phases: Mapping[str, Span], end: float) -> Resources:
    """What *taken* says of the whole load, which was over at *end* seconds, and of each of *phases*; of each process, and of
    all together (no selector).
    """
    found: list[Measurement] = []
    absent: dict[str, str] = {}
    for phase, (start, until) in {"": (0.0, end), **phases}.items():
        span = (start, min(until, end))
        if span[1] > span[0]:
            found += _of_phase(taken, phase, span, absent)
    return Resources(tuple(found), absent)


def expected(criteria: Iterable[Criterion], taken: Taken) -> dict[str, tuple[str, ...]]:
    """The processes that a `/*` criterion must find, by metric."""
    return {each.metric: taken.names for each in criteria if each.metric in NAMES and each.selector == ALL}


def _of_phase(taken: Taken, phase: str, span: Span, absent: dict[str, str]) -> Iterator[Measurement]:
    single = {}
    for name in taken.names:
        problem = unseen(taken.samples.get(name, ()), span)
        if problem:
            absent.update({metric: f"{name} {problem}" for metric in NAMES if metric not in absent})
        else:
            single[name] = list(_of_process(taken.samples[name], span))
            yield from (replace(each, phase=phase, selector=name) for each in single[name])
    shared = [name for name in taken.names if name in taken.shared]
    for metric in ("network.received", "network.sent") if shared else ():
        absent.setdefault(metric, SHARED.format(names=", ".join(shared)))
    if taken.names and len(single) == len(taken.names):
        yield from (replace(each, phase=phase) for each in _together(taken, span, list(single.values())))


def unseen(samples: Sequence[Sample], span: Span) -> str:
    """Why *samples* of a process don't cover *span*, as the end of a sentence; empty when they do.

    A process that is started again, as after a fault, is another: between the two there was nothing to be seen.
    """
    start, end = span
    within = [sample for sample in samples if start - PERIOD <= sample.at < end + PERIOD]
    if not samples:
        return "was never sampled"
    if not within:
        before = [sample.at for sample in samples if sample.at < start]
        return f"was gone from {before[-1]:.2f} s on" if before else f"was not there before {samples[0].at:.2f} s"
    blind = min(BLIND, (end - start) / 2)
    if within[0].at > start + blind:
        return f"was not there before {within[0].at:.2f} s"
    if within[-1].at < end - blind:
        return f"was gone from {within[-1].at:.2f} s on"
    for early, late in zip(within, within[1:], strict=False):
        if late.at - early.at > BLIND and late.pid == early.pid:
            return f"was not sampled from {early.at:.2f} s to {late.at:.2f} s"
    return ""


def _of_process(samples: Sequence[Sample], span: Span) -> Iterator[Measurement]:
    within = [sample for sample in samples if span[0] - PERIOD <= sample.at < span[1]]
    if len(within) < 2:
        return
    yield from _levels(within)
    count = len(within)
    lasted = within[-1].at - within[0].at
    yield Measurement("cpu.mean", _spent(within, lambda each: each.cpu) / lasted, Unit.RATIO, count)
    busiest = _busiest(within)
    if busiest is not None:
        yield Measurement("cpu.max", busiest, Unit.RATIO, count)
    for metric in _COUNTED:
        column = metric.rpartition(".")[2]
        if all(getattr(each, column) is not None for each in within):
            spent = _spent(within, lambda each, column=column: getattr(each, column))  # type: ignore[misc]
            yield Measurement(metric, spent, Unit.BYTES, count)


def _levels(within: Sequence[Sample]) -> Iterator[Measurement]:
    """The highest of each level, and by how much it grew."""
    third = len(within) // 3
    for name, (unit, _) in _HIGHEST.items():
        values = [getattr(each, name) for each in within if getattr(each, name) is not None]
        if len(values) < len(within):
            continue
        yield Measurement(f"{name}.max", max(values), unit, len(values))
        if third and len({each.pid for each in within}) == 1:
            grown = statistics.median(values[-third:]) - statistics.median(values[:third])
            yield Measurement(f"{name}.growth", grown, unit, len(values))


def _spent(within: Sequence[Sample], column: Callable[[Sample], float]) -> float:
    """By how much a counter rose. A process that was started again begins at 0."""
    pairs = zip(within, within[1:], strict=False)
    return sum(max(0.0, column(late) - column(early)) if late.pid == early.pid else column(late) for early, late in pairs)


def _busiest(within: Sequence[Sample]) -> float | None:
    """The most processor time over stretches of at least a second, as a part of one core."""
    found, first = None, 0
    for last, sample in enumerate(within):
        while first + 1 < last and sample.at - within[first + 1].at >= SECOND:
            first += 1
        lasted = sample.at - within[first].at
        if lasted >= SECOND:
            part = _spent(within[first : last + 1], lambda each: each.cpu) / lasted
            found = part if found is None else max(found, part)
    return found


def _together(taken: Taken, span: Span, single: Sequence[Sequence[Measurement]]) -> Iterator[Measurement]:
    """All processes as one: levels where all were seen at the same moment, counters as sums."""
    if len(single) == 1:
        yield from single[0]
        return
    whole = [each for each in sums(taken) if span[0] - PERIOD <= each.at < span[1]]
    if len(whole) >= 2:
        yield from _levels(whole)
    for metric in ("cpu.mean", *_COUNTED):
        parts = [each for measurements in single for each in measurements if each.metric == metric]
        if len(parts) == len(single):
            yield replace(parts[0], value=sum(each.value for each in parts), n=min(each.n for each in parts))
    busiest = _busiest(whole) if len({each.pid for each in whole}) == 1 else None
    if busiest is not None:
        yield Measurement("cpu.max", busiest, Unit.RATIO, len(whole))


def sums(taken: Taken) -> list[Sample]:
    """One sample a look for all processes together, where all were there. Its pid changes when that of any process does."""
    looks: dict[float, list[Sample]] = {}
    for name in taken.names:
        for sample in taken.samples.get(name, ()):
            looks.setdefault(sample.at, []).append(sample)
    return [_sum(at, parts) for at, parts in sorted(looks.items()) if len(parts) == len(taken.names)]


def _sum(at: float, parts: Sequence[Sample]) -> Sample:
    def added(column: str) -> int | None:
        values = [getattr(each, column) for each in parts]
        return None if None in values else sum(values)

    return Sample(
        at,
        hash(tuple(each.pid for each in parts)),
        sum(each.cpu for each in parts),
        sum(each.rss for each in parts),
        sum(each.threads for each in parts),
        *(added(column) for column in ("files", "sockets", "read", "written", "received", "sent")),
    )
