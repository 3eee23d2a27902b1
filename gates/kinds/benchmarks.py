"""The kind `benchmarks`: a pytest-benchmark suite in one process, each benchmark as a ratio to a calibration benchmark in it.

A ratio within one process catches a broken primitive whatever the machine, and claims no more; finding small regressions takes
pairs of processes.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from gates import codec
from gates.errors import BadFileError
from gates.fields import Duration, Settings
from gates.kinds import calibration, child
from gates.kinds.ratios import METHOD, QUANTILES, Rounds, drift, nearest, ratio
from gates.model import (
    Comparator,
    Comparison,
    Criterion,
    Execution,
    Exhibit,
    Finding,
    GateResult,
    IntervalRow,
    Intervals,
    KindContext,
    KindPlan,
    Level,
    Limit,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Table,
    Unit,
)
from gates.quantity import show
from gates.regression.naming import benchmark_name

FEWEST_ROUNDS = 12
DRIFT = 2.0
SHORTEST_ROUND = "0.0005"
_BUILT_IN = (
    Criterion(
        "valid.collected",
        Unit.COUNT,
        Rule.CENSUS,
        (Comparison(Comparator.AT_MOST, 0, text="0"),),
        1,
        built_in=True,
        summary="Benchmarks that were collected and did not run to their end.",
    ),
    Criterion(
        "valid.calibration",
        Unit.FACTOR,
        Rule.SINGLE,
        (Comparison(Comparator.BELOW, DRIFT, text=f"{DRIFT:g}x"),),
        1,
        built_in=True,
        machine=True,
        summary="How far apart the calibration runs of one process lie: the slowest over the fastest.",
    ),
)


class BenchmarksSettings(Settings):
    """What a gate of the kind `benchmarks` can set."""

    suite: str = Field(min_length=1, description="folder or file of pytest-benchmark tests, relative to the root")
    calibration: str = Field(
        "calibration", min_length=1, description="the benchmark, or parametrised ones, that others are held against"
    )
    rounds: int = Field(40, ge=FEWEST_ROUNDS, description="the fewest rounds of each benchmark")
    time: Duration = Field(0.5, gt=0, le=600, description="how long each benchmark is repeated, at least for its rounds")
    plugins: list[str] = Field(default_factory=list, description="modules that pytest loads with -p")


class BenchmarksKind:
    """Runs a pytest-benchmark suite and summarises it as ratios to its calibration benchmark."""

    name = "benchmarks"
    summary = "A pytest-benchmark suite, each benchmark as a ratio to a calibration benchmark in the same process."
    measures = True
    needs_target = False
    settings = BenchmarksSettings
    metrics = (
        MetricSpec(
            "ratio",
            Unit.FACTOR,
            Rule.FACTOR,
            "The median of a benchmark over the median of the calibration runs around it.",
            at_least=FEWEST_ROUNDS,
            selectors=True,
        ),
    )

    def plan(self, settings: BenchmarksSettings, context: KindContext) -> KindPlan:
        suite = (context.root / settings.suite).resolve()
        if not suite.is_relative_to(context.root.resolve()) or not suite.exists():
            context.error(
                "suite", f"there is no {settings.suite} in the repository", "paths are relative to the repository's root"
            )
        plain = settings.model_dump(mode="json") | {"time": settings.time}
        return KindPlan(settings=plain, built_in=_BUILT_IN)

    def run(self, request: Request) -> GateResult:
        started = datetime.now(UTC)
        request.evidence.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gates-benchmarks-") as scratch:
            suite = _Suite(request, Path(scratch))
            suite.run()
            return suite.result(started.strftime("%Y-%m-%dT%H:%M:%SZ"))


@dataclass(slots=True)
class _Suite:
    """One run of the suite: the process, what it collected, what it measured."""

    request: Request
    scratch: Path
    ended: child.Ended = child.Ended(0, 0.0)
    names: tuple[str, ...] = ()
    ran: dict[str, Rounds] = field(default_factory=dict)
    problem: str = ""

    @property
    def log(self) -> Path:
        return self.request.evidence / "output.log"

    def run(self) -> None:
        told = {
            calibration.COLLECTED: str(self.scratch / "collected.json"),
            calibration.CALIBRATION: self.request.gate.settings["calibration"],
            "PYTHONHASHSEED": str(self.request.seed % 2**32),
            "PYTEST_ADDOPTS": "",
        }
        self.ended = child.run(self._command(), root=Path(self.request.root), log=self.log, extra=told)
        try:
            self._read()
        except (OSError, ValueError, KeyError, TypeError, BadFileError) as error:
            self.problem = f"the benchmarks can't be read (pytest ended with exit code {self.ended.code}): {error}"

    def _command(self) -> list[str]:
        settings = self.request.gate.settings
        plugins = [part for name in (calibration.__name__, *settings["plugins"]) for part in ("-p", name)]
        return [
            *(sys.executable, "-m", "pytest", settings["suite"], *plugins, "-p", "no:cacheprovider"),
            *("--benchmark-only", "--benchmark-enable", "--benchmark-disable-gc"),
            f"--benchmark-json={self.scratch / 'raw.json'}",
            f"--benchmark-min-rounds={settings['rounds']}",
            f"--benchmark-max-time={settings['time']}",
            f"--benchmark-min-time={SHORTEST_ROUND}",
        ]

    def _read(self) -> None:
        self.names = tuple(json.loads((self.scratch / "collected.json").read_text(encoding="utf-8")))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise BadFileError(f"several benchmarks are called {', '.join(twice)}; give them groups")
        raw = json.loads((self.scratch / "raw.json").read_text(encoding="utf-8"))
        self.ran = {rounds.name: rounds for rounds in map(_rounds, raw["benchmarks"])}
        if not self.controls:
            wanted = self.request.gate.settings["calibration"]
            raise BadFileError(f"no benchmark is called {wanted}, which the others are held against")

    @property
    def controls(self) -> list[str]:
        wanted = self.request.gate.settings["calibration"]
        return [name for name in self.names if name in self.ran and calibration.is_calibration(name, wanted)]

    @property
    def subjects(self) -> list[str]:
        wanted = self.request.gate.settings["calibration"]
        return [name for name in self.names if not calibration.is_calibration(name, wanted)]

    def _by_hand(self) -> str:
        python, suite = child.pasteable("python", self.request.root), self.request.gate.settings["suite"]
        return child.shown([python, "-m", "pytest", suite, "--benchmark-only"])

    def result(self, started: str) -> GateResult:
        ratios = () if self.problem else self._ratios()
        failed = f"pytest ended with exit code {self.ended.code}" if self.ended.code else ""
        reason = self.problem or failed or ("" if self.subjects else "the suite holds no benchmark besides the calibration")
        if ratios:
            codec.write(self.request.evidence / "benchmarks.json", self._summary_file(ratios))
        return GateResult(
            gate=self.request.gate.name,
            execution=Execution.FAILED_TO_RUN if reason else Execution.COMPLETED,
            started=started,
            seconds=self.ended.seconds,
            measurements=(*ratios, *self._validity()),
            findings=tuple(Finding(Level.ERROR, f"the benchmark {name} did not run to its end") for name in self._missing()),
            exhibits=(*self._exhibits(ratios), *((child.tail(self.log, "The last lines of pytest"),) if reason else ())),
            summary=self._summary(),
            reason=reason,
            steps=(f"run the suite by hand: {self._by_hand()}",),
            attempt=self.request.attempt,
            expected={"ratio": tuple(self.subjects)},
        )

    def _missing(self) -> list[str]:
        return [] if self.problem else [name for name in self.names if name not in self.ran]

    def _ratios(self) -> tuple[Measurement, ...]:
        at = [self.names.index(name) for name in self.controls]
        found = []
        for name in self.subjects:
            if name in self.ran:
                around = [self.ran[self.names[each]] for each in nearest(self.names.index(name), at)]
                found.append(ratio(self.ran[name], around, self.request.seed))
        return tuple(found)

    def _validity(self) -> tuple[Measurement, ...]:
        if self.problem:
            return ()
        apart = drift([self.ran[name] for name in self.controls])
        collected = Measurement("valid.collected", len(self._missing()), Unit.COUNT, len(self.names))
        return collected, Measurement("valid.calibration", apart, Unit.FACTOR, 1)

    def _summary(self) -> str:
        count = sum(len(rounds.seconds) for rounds in self.ran.values())
        return (
            f"{len(self.ran)} of {len(self.names)} collected benchmarks ran, {count:,} rounds in one process on one CPU, "
            f"{len(self.controls)} of them calibration runs spread among the others."
        )

    def _exhibits(self, ratios: Sequence[Measurement]) -> tuple[Exhibit, ...]:
        if not ratios:
            return ()
        rows = [_row(measurement) for measurement in ratios]
        intervals = Intervals("Ratio to the calibration", Unit.FACTOR, tuple(rows), _limits(self.request.gate.criteria))
        columns = ("benchmark", "median a call", "5 % to 95 % of rounds", "rounds", "calls a round")
        return intervals, Table("Benchmarks", columns, tuple(_cells(self.ran[name]) for name in self.names if name in self.ran))

    def _summary_file(self, ratios: Sequence[Measurement]) -> dict[str, Any]:
        """What is kept: count, quantiles and intervals; the samples themselves go with the scratch folder."""
        return {
            "method": METHOD,
            "order": self.names,
            "benchmarks": {name: _kept(rounds) for name, rounds in self.ran.items()},
            "ratios": {measurement.selector: measurement for measurement in ratios},
        }


def _rounds(entry: dict[str, Any]) -> Rounds:
    name = benchmark_name(entry["group"], entry["name"])
    seconds = tuple(float(second) for second in entry["stats"]["data"])
    if not seconds or not all(math.isfinite(second) and second > 0 for second in seconds):
        raise BadFileError(f"the rounds of {name} are empty, or not all positive numbers")
    return Rounds(name, seconds, int(entry["stats"]["iterations"]))


def _row(measurement: Measurement) -> IntervalRow:
    assert measurement.interval is not None
    return IntervalRow(measurement.selector, measurement.value, measurement.interval.low, measurement.interval.high)


def _limits(criteria: Sequence[Criterion]) -> tuple[Limit, ...]:
    """The limits that hold for every benchmark; a plot of all of them has no place for one benchmark's own."""
    every = [each for each in criteria if each.id == "ratio/*"]
    return tuple(
        Limit(comparison.text or f"{comparison.limit:g}x", comparison.limit)
        for each in every
        for comparison in each.comparisons
    )


def _cells(rounds: Rounds) -> tuple[str, ...]:
    spread = f"{show(rounds.quantile(0.05), Unit.SECONDS)} to {show(rounds.quantile(0.95), Unit.SECONDS)}"
    return rounds.name, show(rounds.median, Unit.SECONDS), spread, f"{len(rounds.seconds):,}", f"{rounds.iterations:,}"


def _kept(rounds: Rounds) -> dict[str, Any]:
    quantiles = {f"{quantile:g}": rounds.quantile(quantile) for quantile in QUANTILES}
    ends = {"least": min(rounds.seconds), "most": max(rounds.seconds)}
    return {"rounds": len(rounds.seconds), "iterations": rounds.iterations, "quantiles": quantiles, **ends}
