"""The comparison of two trees by one suite: stage 1, stage 2 for what it left open, and everything that was not compared."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gates.errors import Exit, GatesError
from gates.model import Interval, Measurement, Unit
from gates.regression.pairs import CLOCK_STEP, Collected, PairError, Runner, read_collected
from gates.regression.parallel import detectable, matches
from gates.regression.processes import Side, Suite, WorkerError, start
from gates.regression.session import CONTROL, Rounds
from gates.regression.trees import overlay
from gates.regression.values import Design, Estimate, Pair, Tolerance

if TYPE_CHECKING:
    from gates.regression.control import ControlVerdict
    from gates.regression.stages import First

REPLACED = 3
PAIRS = "pairs.jsonl"
NEEDED = ("numpy", "scipy", "pytest")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the comparison of two trees says.

    Attributes:
        estimates: the slowdown of every benchmark that was compared.
        control: what the same code on both sides says of the measurement; None when there was none.
        pairs: every pair that was measured, stage 1 first; those with a clock step too.
        added: benchmarks that the base's own suite does not have.
        newer: those of the added that the base can't run or collect, since their code is new as well, and how it failed.
        removed: benchmarks that only the base's own suite has.
        broken: benchmarks that should have been compared and were not, and why.
        problems: why the whole is not to be relied on; empty when it is.
        suite: what was run.
        detectable: for benchmarks measured in parallel, the slowdown that would have been seen with 99 % probability.
        known: every benchmark that the candidate's suite has, wanted or not.
    """

    design: Design
    seed: int
    estimates: tuple[Estimate, ...] = ()
    control: ControlVerdict | None = None
    pairs: tuple[Pair, ...] = ()
    added: tuple[str, ...] = ()
    newer: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    detectable: Mapping[str, float] = field(default_factory=dict)
    suite: Suite = Suite(())
    known: tuple[str, ...] = ()

    def strangers(self, patterns: Sequence[str]) -> list[str]:
        """Those of *patterns* that no benchmark fits; none where it is not known which there are."""
        return [each for each in patterns if self.known and not any(matches(name, (each,)) for name in self.known)]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which benchmarks, and how.

    Attributes:
        only: names or patterns with `*` of those to compare; empty means all.
        leave_out: the same, of those to leave out.
        parallel: the same, of those to run on both sides at once.
        new: whether those are compared as well that the base's own suite does not have.
    """

    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    new: bool = False

    def want(self, name: str) -> bool:
        return (not self.only or matches(name, self.only)) and not matches(name, self.leave_out)


def compare(
    suite: Suite,
    base_tree: Path,
    candidate_tree: Path,
    design: Design = Design(),  # noqa: B008 -- frozen
    tolerances: Mapping[str, Tolerance] | None = None,
    *,
    seed: int,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 -- frozen
    wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
    evidence: Path | None = None,
    on_progress: Progress = lambda text: None,
    rounds: Rounds = Rounds(),  # noqa: B008 -- frozen
    pythons: tuple[str, str] = (sys.executable, sys.executable),
) -> Comparison:
    """Compare the candidate with the base by the candidate's benchmarks.

    The benchmarks of *base_tree* are overwritten with the candidate's, so it must be a private checkout, at a path as long as
    that of *candidate_tree* (`checkouts.checked_out` makes both). *tolerance* is for benchmarks that *tolerances* does not
    name. *pythons* are the interpreters of base and candidate. Every pair is written to `pairs.jsonl` in *evidence* as soon
    as it is measured. What goes wrong is in `problems` and `broken`.
    """
    check_installed()
    sides = (Side("base", base_tree, pythons[0]), Side("candidate", candidate_tree, pythons[1]))
    # beside the checkouts, so that who takes away what a killed run left takes it too
    with tempfile.TemporaryDirectory(prefix="gates-pairs-", dir=base_tree.parent) as scratch:
        folder, limits = evidence or Path(scratch), Limits(tolerances or {}, tolerance)
        return Course(suite, sides, design, limits, seed, wishes, rounds, folder, on_progress).run()


def check_installed() -> None:
    """Raise GatesError when what a comparison needs is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise GatesError(
            f"a comparison needs {' and '.join(missing)}, and this environment has none",
            hint="pip install 'readiness-gates[bench,regression]'",
            code=Exit.INCONCLUSIVE,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The tolerances of named benchmarks, and that of all others."""

    named: Mapping[str, Tolerance]
    others: Tolerance

    def of(self, name: str) -> Tolerance:
        return self.named.get(name, self.others)

    def over(self, pairs: Sequence[Pair]) -> dict[str, Tolerance]:
        return {name: self.of(name) for pair in pairs for name in pair.logs}


@dataclass(slots=True)
class Course:
    """One comparison under way."""

    suite: Suite
    sides: tuple[Side, Side]
    design: Design
    limits: Limits
    seed: int
    wishes: Wishes
    rounds: Rounds
    folder: Path
    on_progress: Progress
    runner: Runner = field(init=False)
    own_suite: Collected | None = None
    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stepped: int = 0

    def __post_init__(self) -> None:
        base, candidate = self.sides
        is_parallel = lambda name: matches(name, self.wishes.parallel)  # noqa: E731
        self.runner = Runner(base, candidate, self.suite, self.folder, self.rounds, is_parallel)

    def run(self) -> Comparison:
        from gates.regression import stages  # with numpy

        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / PAIRS).unlink(missing_ok=True)  # of an earlier attempt
        self.own_suite = self._own_benchmarks()
        overlay(self.sides[1].tree, self.sides[0].tree, self.suite.overlaid)
        first: Sequence[Pair] = ()
        try:
            first = self._measure(self.design.first, "stage 1", self._wanted)
            stage = stages.first(first, self.design, self.limits.over(first))
            second = self._second(stage) if stage.open else ()
        except PairError as error:
            self.problems.append(str(error))
            stage, second = stages.first(first, self.design, self.limits.over(first)), ()
        return self._finished(stage.design, stages.second(second, stage, self.limits.over(first)), stage.missing)

    def _second(self, stage: First) -> Sequence[Pair]:
        """Fresh pairs of what is open; of those that surely pass by then, no more than the fewest."""
        from gates.regression import stages

        found = self._measure(min(stage.pairs, stage.design.second), "stage 2", lambda name: name in stage.open)
        left, more = stages.remaining(found, stage, self.limits.over(found))
        return [*found, *(self._measure(more, "stage 2, longer", lambda name: name in left) if left else ())]

    @property
    def own(self) -> frozenset[str] | None:
        """The benchmarks of the base's own suite, by the candidate's names where it has them too."""
        if self.own_suite is None:
            return None
        return frozenset(self.own_suite.named_as(self.runner.collected.get("candidate", Collected())).items)

    def _own_benchmarks(self) -> Collected | None:
        """What the base's own suite holds, before the candidate's is put over it; None when it can't be told."""
        base, candidate = self.sides
        if not any((base.tree / path).exists() for path in self.suite.paths):
            return Collected()
        try:
            found = self._listed(base, candidate)
        except WorkerError as error:
            self.problems.append(f"the base's own suite can't be collected, so what was removed is not known: {error}")
            return None
        for file, why in found.unreadable.items():
            self.problems.append(f"the base's own {file} can't be collected, so what was removed is not known: {why}")
        return found

    def _listed(self, base: Side, candidate: Side) -> Collected:
        # without compiled files: those of a file that is replaced within a second would be taken for the new one's
        worker = start(base, candidate, self.suite, self.folder / "base-own.log", hash_seed=1, compiled=False)
        try:
            return read_collected(worker.receive(self.rounds.patience))
        finally:
            worker.close()

    def _wanted(self, name: str) -> bool:
        return self.wishes.want(name) and (self.wishes.new or self.own is None or name in self.own)

    def _measure(self, count: int, stage: str, wanted: Callable[[str], bool]) -> list[Pair]:
        """*count* valid pairs; one in which the clock stepped is replaced, a few times."""
        valid: list[Pair] = []
        while len(valid) < count:
            index = len(self.pairs)
            pair = self.runner.measure(index, pair_seed(self.seed, index), wanted)
            self.pairs.append(pair)
            self._store(pair)
            if not pair.logs.keys() - {CONTROL}:
                raise PairError("no benchmark was compared")
            if abs(pair.clock_step) <= CLOCK_STEP:
                valid.append(pair)
                self.on_progress(f"{stage}: pair {len(valid)} of {count}")
                continue
            self.on_progress(f"{stage}: the clock moved by {pair.clock_step:+.3f} s, the pair does not count")
            self._stepped += 1
            if self._stepped > REPLACED:
                raise PairError(f"the clock was moved in {self._stepped} pairs, {pair.clock_step:+.3f} s in the last")
        return valid

    def _store(self, pair: Pair) -> None:
        with (self.folder / PAIRS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(pair)) + "\n")

    def _finished(self, design: Design, found: Mapping[str, Estimate], missing: Mapping[str, str]) -> Comparison:
        from gates.regression import control

        candidate, base = (self.runner.collected.get(side, Collected()) for side in ("candidate", "base"))
        uncollected, added = self._uncollected(candidate, base), self._added(candidate)
        broken = {**uncollected, **missing, **self.runner.broken}
        newer = {name: broken.pop(name) for name in added if name in uncollected or name in self.runner.only_base}
        said = control.verdict(self.pairs) if self.pairs else None
        estimates = tuple(self._believed(estimate, said) for name, estimate in found.items() if name not in {**broken, **newer})
        if not self.problems and not estimates:
            self.problems.append("no benchmark was compared")
        unreadable = [f"the candidate's {file} can't be collected: {why}" for file, why in candidate.unreadable.items()]
        return Comparison(
            design=design,
            seed=self.seed,
            estimates=estimates,
            control=said,
            pairs=tuple(self.pairs),
            added=added,
            newer=newer,
            removed=tuple(sorted((self.own or frozenset()) - set(candidate.items))) if candidate.items else (),
            broken=broken,
            problems=tuple(self.problems or unreadable),
            suite=self.suite,
            known=tuple(candidate.items),
            detectable={each.name: self._detectable(each, design) for each in estimates if self.runner.is_parallel(each.name)},
        )

    def _added(self, candidate: Collected) -> tuple[str, ...]:
        """What the base's own suite does not have; nothing is said to be new where a file of that could not be read."""
        if self.own_suite is None or self.own_suite.unreadable:
            return ()
        return tuple(name for name in candidate.items if name not in (self.own or ()))

    def _believed(self, estimate: Estimate, said: ControlVerdict | None) -> Estimate:
        """The estimate as it is, or one that decides nothing when the same code differs from itself."""
        from gates.regression import stages

        if said is None or said.sound:
            return estimate
        return stages.doubted(estimate, self.limits.of(estimate.name), said.reason)

    def _uncollected(self, candidate: Collected, base: Collected) -> dict[str, str]:
        """Benchmarks to compare that the base can't run: its own suite has them, and the candidate's file fails on it."""
        if not base.items:
            return {}
        why = "; ".join(f"{file}: {each}" for file, each in base.unreadable.items()) or "it was not collected there"
        return {name: f"not on the base: {why}" for name in candidate.items if name not in base.items and self._wanted(name)}

    def _detectable(self, estimate: Estimate, design: Design) -> float:
        return detectable(estimate.spread, design, self.limits.of(estimate.name))


def measurement(estimate: Estimate) -> Measurement:
    """`slowdown/NAME`, as `judge` takes it."""
    interval = Interval(estimate.low, estimate.high, estimate.level, estimate.method)
    return Measurement("slowdown", estimate.slowdown, Unit.RATIO, estimate.pairs, interval, selector=estimate.name)


def pair_seed(seed: int, index: int) -> int:
    """The hash seed of the pair *index*; what is drawn by lot in it follows from it."""
    return random.Random(f"{seed}/{index}").randrange(1, 2**32)
