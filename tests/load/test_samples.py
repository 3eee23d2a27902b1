"""The samples that `gates check` promises are those of the schedule, and its advice is the smallest that would do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gates.load.curve import Piece
from gates.load.plan import LoadPlan, Replay
from gates.load.recording import read_recording
from gates.load.samples import samples
from gates.load.scenario import changed
from gates.model import Comparator, Comparison, Criterion, Rule, Samples, Unit
from gates.quantity import parse

PLAN = LoadPlan("", "", 100.0, 16.0, 3.0, 10, 1.0, {"a": 8, "b": 2}, {"a": {"tags": ["both"]}, "b": {"tags": ["both", "few"]}})


def limit(name: str, value: float) -> Criterion:
    """A criterion over *name*."""
    return Criterion(name, Unit.SECONDS, Rule.PERCENTILE, (Comparison(Comparator.BELOW, value, text=f"{value} s"),), 1)


SHAPED = {
    "constant": PLAN,
    "ramp": replace(PLAN, pieces=(Piece(16, 0, 200),)),
    "bursts": replace(PLAN, pieces=(Piece(3, 20, 20), Piece(1, 340, 340)), stretches={"burst": (7, 8)}),
    "poisson": replace(PLAN, gaps="exponential"),
}


@pytest.mark.parametrize("shape", SHAPED)
@pytest.mark.parametrize("phase", ["", "@warmup", "@steady", "@odd"])
@pytest.mark.parametrize("selector", ["", "a", "b", "*", "tag:both"])
def test_planned_samples_are_never_more_than_a_run_gives(shape: str, phase: str, selector: str) -> None:
    """For each shape, phase and flow the plan promises what the schedule of any seed keeps, and not much less."""
    from gates.load.schedule import schedule

    plan = SHAPED[shape]
    phases = {**plan.phases, "odd": (4.321, 9.876)}
    name = f"latency.p50{phase}" + (f"/{selector}" if selector else "")
    promised = samples(plan, [limit(name, 1.0)], phases)[name].n
    start, end = phases.get(phase.removeprefix("@"), (-1, 99))
    for seed in range(5):
        arrivals = schedule(plan, ["x"], seed=seed)
        within = arrivals.flow[(arrivals.intended >= start) & (arrivals.intended < end)]
        real = {
            "": len(within),
            "tag:both": len(within),
            "*": min(np.bincount(within)),
            "a": (within == 0).sum(),
            "b": (within == 1).sum(),
        }[selector]
        spread = 12 * len(within) ** 0.5 if shape == "poisson" and phase else 0
        assert real - spread - 10 <= promised <= real
    if not selector and not spread:
        assert promised == real


def test_samples_of_a_recording_are_counted_in_it(tmp_path: Path) -> None:
    """By its times and its flows."""
    (tmp_path / "a.csv").write_text("at,flow\n" + "".join(f"{n / 10},{'ab'[n % 3 == 0]}\n" for n in range(100)))
    found = read_recording(tmp_path / "a.csv", "a.csv")
    plan = replace(PLAN, replay=Replay("a.csv", found.sha256, 100, 1.0, True), seconds=10.0)
    names = ["latency.p50", "latency.p50@steady", "latency.p50@steady/b", "latency.p50@steady/*", "latency.p50/tag:few"]
    planned = samples(plan, [limit(name, 1.0) for name in names], plan.phases, root=tmp_path)
    assert [planned[name].n for name in names] == [100, 70, 24, 24, 34]
    assert planned["latency.p50"].advice(500) == "500 samples are needed; a longer recording would do"


@pytest.mark.parametrize("shape", SHAPED)
@pytest.mark.parametrize("name", ["latency.p99@steady/b", "latency.p99", "latency.p99@fault/b"])
def test_advice_names_the_smallest_rate_or_time_that_would_do(shape: str, name: str) -> None:
    """Following it gives enough samples, and a little less does not."""
    plan, wanted = SHAPED[shape], limit(name, 1.0)

    def given(other: LoadPlan) -> Samples:
        fault = (other.seconds / 4, other.seconds / 2)
        return samples(other, [wanted], {**other.phases, "fault": fault})[name]

    words = re.fullmatch(r"a rate of ([\d,]+)/s .*would do, or arrivals for (.+) at 100/s.*", given(plan).advice(3000))
    assert words, given(plan).advice(3000)
    rate, seconds = int(words[1].replace(",", "")), parse(words[2], Unit.SECONDS)
    assert given(changed(plan, rate=rate)).n >= 3000 > given(changed(plan, rate=rate - 1)).n
    if words[2].endswith(" s"):
        assert given(changed(plan, seconds=seconds)).n >= 3000 > given(changed(plan, seconds=seconds - 1)).n


def test_the_advice_is_in_words() -> None:
    """A whole rate and a whole time."""
    given = samples(PLAN, [limit("latency.p99@steady/b", 1.0)], PLAN.phases)["latency.p99@steady/b"]
    assert given.advice(1000) == "a rate of 385/s would do, or arrivals for 53 s at 100/s"
