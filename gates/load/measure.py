"""From what a run left to measurements: every number with its interval and how many samples it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gates.load import validity
from gates.load.failure import Failure
from gates.load.metrics import QUANTILES
from gates.load.plan import TAG
from gates.load.selection import Outcome, Sample, Selection
from gates.load.statistics import clopper_pearson
from gates.model import Measurement, Unit

NO_TAGS: Mapping[str, tuple[str, ...]] = {}


def measurements(
    outcome: Outcome,
    *,
    phases: Mapping[str, tuple[float, float]],
    seed: int,
    tags: Mapping[str, tuple[str, ...]] = NO_TAGS,
) -> tuple[Measurement, ...]:
    """All measurements of *outcome*: of the whole run (no phase) and of each of *phases* (from and to of intended start, in
    seconds), over all flows (no selector), for each flow, and for the flows of each of *tags* (selector `tag:NAME`). What has
    no sample has no measurement.
    """
    whole = ("", (-np.inf, np.inf))
    found: list[Measurement] = []
    for phase, span in (whole, *phases.items()):
        for selector, flows in (("", None), *_by_flow(outcome), *_by_tag(outcome, tags)):
            found += _group(outcome.select(*span, flows=flows), phase, selector, seed)
    return (*found, *_generator(outcome, seed))


def _by_flow(outcome: Outcome) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, (index,)) for index, name in enumerate(outcome.flows)]


def _by_tag(outcome: Outcome, tags: Mapping[str, tuple[str, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    indices = {name: index for index, name in enumerate(outcome.flows)}
    return [(f"{TAG}{tag}", tuple(indices[name] for name in names)) for tag, names in tags.items()]


def _group(chosen: Selection, phase: str, selector: str, seed: int) -> Iterator[Measurement]:
    count = chosen.count
    if not count:
        return
    right, errors = chosen.right, chosen.wrong
    ended = right + errors
    if ended:
        yield Measurement("errors.ratio", errors / ended, Unit.RATIO, ended, clopper_pearson(errors, ended), phase, selector)
        yield Measurement("errors.count", errors, Unit.COUNT, ended, None, phase, selector)
    yield Measurement("requests.count", count, Unit.COUNT, count, None, phase, selector)
    yield Measurement("throughput", _throughput(chosen, right), Unit.RATE, count, None, phase, selector)
    latency, service = chosen.latency, chosen.service
    if latency.count:
        yield Measurement("latency.max", latency.longest, Unit.SECONDS, latency.count, None, phase, selector)
        yield from _timings("latency", latency, phase, selector, seed)
    if service.count:
        yield from _timings("service", service, phase, selector, seed)


def _throughput(chosen: Selection, right: int) -> float:
    """Right answers over the time from the first intended start to the last end."""
    span = chosen.last - chosen.first
    return right / span if span > 0 else 0.0


def _timings(name: str, sample: Sample, phase: str, selector: str, seed: int) -> Iterator[Measurement]:
    found = sample.percentiles(list(QUANTILES.values()), seed=seed)
    for short, (value, interval) in zip(QUANTILES, found, strict=True):
        yield Measurement(f"{name}.{short}", value, Unit.SECONDS, sample.count, interval, phase, selector)


def _generator(outcome: Outcome, seed: int) -> Iterator[Measurement]:
    """The generator's own: lateness, what it never sent, and the valid.* criteria's numbers."""
    whole = outcome.select()
    count = whole.count
    if not count:
        return
    (median, near), (late, far) = whole.lateness.percentiles((0.5, 0.99), seed=seed)
    unsent, health = whole.failures.get(Failure.UNSENT, 0), outcome.health
    yield Measurement("lateness.p50", median, Unit.SECONDS, count, near)
    yield Measurement("lateness.p99", late, Unit.SECONDS, count, far)
    yield Measurement("unsent.ratio", unsent / count, Unit.RATIO, count, clopper_pearson(unsent, count))
    yield Measurement(validity.UNSENT, unsent / count, Unit.RATIO, count)
    yield Measurement(validity.LATENESS, late, Unit.SECONDS, count)
    yield Measurement(validity.CPU, health.cpu, Unit.RATIO, count)
    if health.steal is not None:
        yield Measurement(validity.STEAL, health.steal, Unit.RATIO, count)
        yield Measurement("generator.steal", health.steal, Unit.RATIO, count)
    if health.held is not None:
        yield Measurement("generator.held", health.held, Unit.RATIO, count)
    yield Measurement("generator.cpu", health.cpu, Unit.RATIO, count)
    done = whole.right + whole.wrong - unsent
    for name, number in (("planned", outcome.planned), ("sent", whole.sent), ("done", done), ("unsent", unsent)):
        yield Measurement(f"generator.{name}", number, Unit.COUNT, count)
    yield Measurement(validity.CLOCK, health.clock_jump, Unit.SECONDS, count)
