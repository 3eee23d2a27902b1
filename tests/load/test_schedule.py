"""The schedule is one seeded array: the same for everybody, with weights that hold in every phase."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates import codec
from gates.errors import BadFileError
from gates.load.curve import Piece
from gates.load.plan import LoadPlan, Replay
from gates.load.recording import read_recording
from gates.load.schedule import BLOCK, Schedule, ScheduleHash, blocks, hash_of, schedule


def plan(**more: object) -> LoadPlan:
    """100/s for 16 s of two flows, 8 to 2."""
    given: dict[str, object] = {"mix": {"a": 8, "b": 2}, "flows": {"a": {}, "b": {}}, "rate": 100.0, "seconds": 16.0, **more}
    return LoadPlan("", "", warmup=3.0, connections=1, timeout=1.0, **given)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_schedule_and_another_gives_another() -> None:
    """The hash in the report says which one it was."""
    first = schedule(plan(), ["x", "y"], seed=1)
    assert first.hash == schedule(plan(), ["x", "y"], seed=1).hash
    assert first.hash != schedule(plan(), ["x", "y"], seed=2).hash
    assert first.hash != schedule(plan(rate=101.0), ["x", "y"], seed=1).hash


def test_a_plan_that_was_written_and_read_again_has_the_same_schedule() -> None:
    """plan.json sorts its keys: `gates load` must give the arrivals of the gate that it repeats."""
    given = plan(mix={"b": 2, "a": 8})
    assert schedule(codec.loads(codec.dumps(given), LoadPlan), ["x"], seed=1).hash == schedule(given, ["x"], seed=1).hash


def test_arrivals_come_at_the_rate_from_the_first_moment() -> None:
    """1,600 arrivals 10 ms apart; none is lost to rounding."""
    times = schedule(plan(), ["x"], seed=1).intended
    assert len(times) == 1600
    assert times[0] == 0
    assert times[-1] == pytest.approx(15.99)
    assert len(schedule(plan(rate=0.1 * 3, seconds=10.0), ["x"], seed=1).intended) == 3


def test_weights_hold_in_every_stretch_and_the_order_within_is_shuffled() -> None:
    """Of any five arrivals from a multiple of five, four are `a`; so each phase has the samples that were planned."""
    flow = schedule(plan(), ["x"], seed=1).flow
    assert {int(flow[at : at + 5].sum()) for at in range(0, 1600, 5)} == {1}
    assert len({tuple(flow[at : at + 5]) for at in range(0, 1600, 5)}) == 5


def test_endpoints_take_turns_and_a_named_one_is_kept() -> None:
    """Flow `b` goes to y alone."""
    arrivals = schedule(plan(flows={"a": {}, "b": {"endpoint": "y"}}), ["x", "y"], seed=1)
    assert set(arrivals.endpoint[arrivals.flow == 1].tolist()) == {1}
    assert set(arrivals.endpoint[arrivals.flow == 0].tolist()) == {0, 1}


# --- every shape, whole, in slices and in blocks ----------------------------------------------------------------------

SHAPES = {
    "constant": {},
    "ramp": {"pieces": (Piece(16.0, 0.0, 200.0),)},
    "burst": {"pieces": (Piece(3.0, 20.0, 20.0), Piece(1.0, 340.0, 340.0))},
    "poisson": {"gaps": "exponential"},
    "random ramp": {"pieces": (Piece(16.0, 200.0, 0.0),), "gaps": "exponential"},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_slices_partition_the_whole_and_carry_its_hash(shape: str, workers: int) -> None:
    """The same seed gives the same hash on 1, 2 or 8 workers, and every arrival keeps its number, time, flow and endpoint."""
    whole = schedule(plan(**SHAPES[shape]), ["x", "y", "z"], seed=5)
    parts = [schedule(plan(**SHAPES[shape]), ["x", "y", "z"], seed=5).slice(k, workers) for k in range(workers)]
    assert {part.hash for part in parts} == {whole.hash}
    assert rows(*parts) == rows(whole)
    assert len(rows(whole)) == 1600


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3 * BLOCK), st.integers(1, 7), st.integers(1, 9), st.sampled_from(["even", "exponential"]))
def test_blocks_hold_what_the_whole_holds_also_in_slices(count: int, weight: int, workers: int, gaps: str) -> None:
    """One after the other, whatever the mix; their hash is that of the whole."""
    wanted = plan(rate=1000.0, seconds=count / 1000, mix={"a": weight, "b": 2}, gaps=gaps)
    whole, found = schedule(wanted, ["x", "y"], seed=3), ScheduleHash()
    parts = list(blocks(wanted, ["x", "y"], seed=3))
    for part in parts:
        found.add(part)
    assert found.hex == whole.hash == hash_of(wanted, ["x", "y"], seed=3)
    assert np.concatenate([part.intended for part in parts]).tobytes() == whole.intended.tobytes()
    assert [part.first for part in parts] == np.cumsum([0, *(len(part.intended) for part in parts[:-1])]).tolist()
    k = workers // 2
    mine = [part.slice(k, workers, whole="known") for part in parts]
    assert np.concatenate([part.flow for part in mine]).tobytes() == whole.slice(k, workers).flow.tobytes()
    assert all(part.number(0) % workers == k for part in mine if len(part.intended))


def rows(*parts: Schedule) -> list[tuple[int, float, int, int]]:
    """Number, time, flow and endpoint of all arrivals of *parts*, by number."""
    found = [
        (part.number(row), *columns)
        for part in parts
        for row, columns in enumerate(zip(part.intended.tolist(), part.flow.tolist(), part.endpoint.tolist(), strict=True))
    ]
    return sorted(found)


def test_a_schedule_of_ten_million_arrivals_is_made_in_blocks_of_bounded_memory() -> None:
    """Only what is looked at is there: less than 8 MiB, where the whole would take 120 MB."""
    wanted = plan(rate=1000.0, seconds=10_000.0)
    tracemalloc.start()
    try:
        count = sum(len(block.intended) for block in blocks(wanted, ["x"], seed=1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000_000
    assert peak < 8 * 1024 * 1024


# --- Poisson ----------------------------------------------------------------------------------------------------------


def test_poisson_gaps_are_exponential_with_the_mean_of_the_rate() -> None:
    """Kolmogorov and Smirnov's distance to the exponential distribution is what chance gives with 20,000 gaps."""
    gaps = np.sort(np.diff(schedule(plan(rate=1000.0, seconds=20.0, gaps="exponential"), ["x"], seed=11).intended))
    assert gaps.mean() == pytest.approx(1e-3, rel=0.01)
    distance = np.abs(1 - np.exp(-gaps * 1000) - np.arange(len(gaps)) / len(gaps)).max()
    assert distance < 1.95 / len(gaps) ** 0.5  # once in a thousand seeds it is more


def test_seconds_of_a_poisson_process_vary_as_they_do() -> None:
    """The number in a second has the variance of its mean; even gaps have none."""
    counts = np.bincount(schedule(plan(rate=400.0, seconds=500.0, gaps="exponential"), ["x"], seed=2).intended.astype(int))
    assert counts.sum() == 200_000
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.2)


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_recording_comes_as_it_was_faster_and_with_its_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times count from the first arrival, in epoch seconds as well; at twice the speed they are half."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("at,flow\n1700000000.5,b\n1700000001.5,a\n1700000001.5,b\n1700000004.5,b\n")
    arrivals = schedule(replay("a.csv", speed=2.0, flows=True), ["x"], seed=1)
    assert arrivals.intended.tolist() == [0, 0.5, 0.5, 2]
    assert arrivals.flow.tolist() == [1, 0, 1, 1]


def test_a_recording_without_flows_takes_those_of_the_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their weights, in the order of the seed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(b'{"at": %d}\n' % n for n in range(10))))
    assert np.bincount(schedule(replay("a.jsonl.gz"), ["x"], seed=1).flow).tolist() == [8, 2]


def test_a_recording_that_changed_after_the_plan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan was made from other bytes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("at\n1\n2\n")
    planned = replay("a.csv")
    (tmp_path / "a.csv").write_text("at\n1\n3\n")
    with pytest.raises(BadFileError, match="a.csv: the file has changed since the run was planned"):
        schedule(planned, ["x"], seed=1)


def replay(file: str, *, speed: float = 1.0, flows: bool = False) -> LoadPlan:
    """The plan that replays *file*."""
    found = read_recording(Path(file), file)
    return plan(replay=Replay(file, found.sha256, len(found.times), speed, flows), shape="replay")
