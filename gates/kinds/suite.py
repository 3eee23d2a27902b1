"""A pytest-benchmark suite in one process, each benchmark as a ratio to the calibration runs around it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gates import codec
from gates.errors import BadFileError
from gates.kinds import calibration, child
from gates.kinds.part import Part
from gates.kinds.ratios import METHOD, QUANTILES, Rounds, drift, nearest, ratio
from gates.model import (
    Criterion,
    Exhibit,
    Finding,
    IntervalRow,
    Intervals,
    Level,
    Limit,
    Measurement,
    Request,
    Table,
    Unit,
)
from gates.quantity import show
from gates.regression.naming import benchmark_name

SHORTEST_ROUND = "0.0005"


@dataclass(slots=True)
class RatioSuite:
    """One run of the suite in one process: what it collected, what it measured."""

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

    @property
    def reason(self) -> str:
        """Why the suite did not run as a whole; empty when it did."""
        failed = f"pytest ended with exit code {self.ended.code}" if self.ended.code else ""
        return self.problem or failed or ("" if self.subjects else "the suite holds no benchmark besides the calibration")

    def part(self) -> Part:
        """The ratios and what is to be said of them."""
        ratios = () if self.problem else self._ratios()
        if ratios:
            codec.write(self.request.evidence / "benchmarks.json", self._summary_file(ratios))
        tail = (child.tail(self.log, "The last lines of pytest"),) if self.reason else ()
        return Part(
            measurements=(*ratios, *self._validity()),
            findings=tuple(Finding(Level.ERROR, f"the benchmark {name} did not run to its end") for name in self._missing()),
            exhibits=(*self._exhibits(ratios), *tail),
            steps=(f"run the suite by hand: {self._by_hand()}",),
            summary=self._summary(),
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
