"""Gates of many benchmarks on simulated machines: how often the design is wrong, by the very rules that the gate runs.

Everything is counted over arrays; the rules are those of `stages` and `statistics`, and a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from gates.regression import control, noise, stages, statistics
from gates.regression.noise import Noise
from gates.regression.statistics import Array, Bounds
from gates.regression.values import Design, Tolerance, logarithm

Draw = Callable[[tuple[int, ...]], Array]
Counts = npt.NDArray[np.int_]
Flags = npt.NDArray[np.bool_]
TOLERANCE = Tolerance()


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted; tallies of parts add up.

    Attributes:
        gates: gates that were run, each of `Design.metrics` benchmarks, or of the one that was changed.
        failed: gates in which a benchmark failed.
        inconclusive: gates in which none failed and at least one, or the control, decided nothing.
        control: gates whose control was refused.
        second: gates that had a stage 2, and *fresh* its pairs, all together.
        benchmarks: how many were judged, *slow* as failed, *open* as inconclusive.
        covered: judged intervals that hold the true slowdown.
        first_over: raw stage-1 bounds that are wholly above the truth, of *benchmarks*; nominally `Design.suspect`.
        first_under: wholly below it; nominally `Design.upper`.
        fresh_benchmarks: benchmarks that had a stage 2, *second_over* and *second_under* of them as for stage 1.
        crossed: benchmarks of stage 2 on which the two methods disagree.
    """

    gates: int = 0
    failed: int = 0
    inconclusive: int = 0
    control: int = 0
    second: int = 0
    fresh: int = 0
    benchmarks: int = 0
    slow: int = 0
    open: int = 0
    covered: int = 0
    first_over: int = 0
    first_under: int = 0
    fresh_benchmarks: int = 0
    second_over: int = 0
    second_under: int = 0
    crossed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Noises:
    """The noise of many gates, drawn once and used for every true slowdown: it only adds to it.

    Attributes:
        first: of stage 1, by gate, benchmark and pair; *second* of the longest stage 2.
        control: of the control, by gate and pair of both stages.
    """

    first: Array
    second: Callable[[Flags], Array]
    control: Array


def without_change(model: Noise, gates: int, design: Design, generator: np.random.Generator) -> Tally:
    """*gates* gates of `design.metrics` benchmarks, none of which has changed."""
    drawn = noise.pairs(model, (gates, design.metrics, design.first), generator)
    controls = noise.pairs(model, (gates, design.first + design.most), generator)

    def fresh(wanted: Flags) -> Array:
        return noise.pairs(model, (int(wanted.sum()), design.most), generator)

    return run(Noises(drawn, fresh, controls), 0.0, design)


def with_changes(
    model: Noise, gates: int, effects: tuple[float, ...], design: Design, generator: np.random.Generator
) -> Mapping[float, Tally]:
    """For each of *effects*, *gates* gates of `design.metrics` in which one benchmark is that much slower; only it is told."""
    first = noise.pairs(model, (gates, 1, design.first), generator)
    second = noise.pairs(model, (gates, 1, design.most), generator)
    controls = noise.pairs(model, (gates, design.first + design.most), generator)
    drawn = Noises(first, lambda wanted: second[wanted], controls)
    return {effect: run(drawn, effect, design) for effect in effects}


def run(noises: Noises, effect: float, design: Design) -> Tally:
    """The whole course of every gate, each benchmark of it slower by *effect*."""
    true = logarithm(effect)
    bounds = statistics.bounds(noises.first + true, design.suspect, design.upper)
    ends = stages.first_ends(bounds, TOLERANCE)
    low, high, wanted = ends.low.copy(), ends.high.copy(), ends.unsure
    counts = {"fresh_benchmarks": int(wanted.sum()), "second_over": 0, "second_under": 0, "crossed": 0}
    fresh = noises.second(wanted) + true
    suspects = stages.is_suspect(bounds)[wanted]
    lengths = _lengths(bounds.spread[wanted], suspects, fresh, design)
    sizes = np.zeros(len(wanted), dtype=int)
    gates = np.nonzero(wanted)[0]
    np.maximum.at(sizes, gates, lengths)
    lengths = np.where(lengths > design.second, sizes[gates], lengths)  # those that go on share their pairs
    new_low, new_high = low[wanted], high[wanted]
    for chosen, length, level in _groups(suspects, lengths, design):
        found = statistics.bounds(fresh[chosen, :length], level, design.upper)
        second = stages.second_ends(found, TOLERANCE)
        new_low[chosen], new_high[chosen] = second.low, second.high
        over, under = _missed(found, true)
        for name, number in (("second_over", over), ("second_under", under), ("crossed", int(second.unsure.sum()))):
            counts[name] += number
    low[wanted], high[wanted] = new_low, new_high
    return _tally(low, high, bounds, true, sizes, _refused(noises.control, sizes, design), counts)


def _tally(
    low: Array, high: Array, first: Bounds, true: float, sizes: Counts, refused: Flags, counts: Mapping[str, int]
) -> Tally:
    decided = stages.decided(low, high, TOLERANCE)
    failed = (decided == 1).any(axis=1)
    over, under = _missed(first, true)
    return Tally(
        gates=len(decided),
        failed=int((failed & ~refused).sum()),
        inconclusive=int((~failed & (decided == 0).any(axis=1) | refused).sum()),
        control=int(refused.sum()),
        second=int((sizes > 0).sum()),
        fresh=int(sizes.sum()),
        benchmarks=decided.size,
        slow=int((decided == 1).sum()),
        open=int((decided == 0).sum()),
        covered=int(((low <= true) & (true <= high)).sum()),
        first_over=over,
        first_under=under,
        **counts,
    )


def _lengths(spread: Array, suspects: Flags, fresh: Array, design: Design) -> Counts:
    """How many fresh pairs each open benchmark is measured in: as planned, fewer when it is acquitted early."""
    lengths = np.array([stages.size(float(each), design, TOLERANCE) for each in spread], dtype=int)
    for chosen, _, level in _groups(suspects, np.where(lengths > design.second, 1, 0), design, only=1):
        early = stages.acquitted(fresh[chosen, : design.second], level, TOLERANCE)
        lengths[chosen[early]] = design.second
    return lengths


def _groups(suspects: Flags, lengths: Counts, design: Design, only: int = 0) -> Iterator[tuple[Counts, int, float]]:
    """The benchmarks of stage 2 that are treated alike: as long a stage 2 (*only* that one), and the same level."""
    for length in [only] if only else np.unique(lengths):
        for suspect, level in ((True, design.alpha2), (False, design.alpha_unsuspected)):
            chosen = np.flatnonzero((lengths == length) & (suspects == suspect))
            if chosen.size:
                yield chosen, int(length), level


def _missed(bounds: Bounds, true: float) -> tuple[int, int]:
    """How often the trimmed mean's own interval lies wholly above, and wholly below, the truth."""
    return int((bounds.low > true).sum()), int((bounds.high < true).sum())


def _refused(controls: Array, sizes: Counts, design: Design) -> Flags:
    """Whose control is biased, over the pairs of both stages."""
    refused = np.zeros(len(controls), dtype=bool)
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        found = statistics.bounds(controls[chosen, : design.first + size], control.LEVEL, control.LEVEL)
        refused[chosen] = control.away(np.expm1(found.low), np.expm1(found.high)) > control.SLACK
    return refused
