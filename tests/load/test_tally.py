"""Counts against rows of the same run: the same numbers, within the width of a bucket."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_server import odd_server

from gates.load.engine import tally_load
from gates.load.exhibits import exhibits, write_evidence
from gates.load.failure import Failure
from gates.load.measure import measurements
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.load.recorder import RowRecorder
from gates.load.schedule import Schedule, schedule
from gates.load.statistics import block_length
from gates.load.tally import Tally, TallyError, grid, merged
from gates.load.tally_recorder import Spill, TallyRecorder
from gates.model import Measurement, Quantiles, Series, Table, Unit

PLAN = LoadPlan("", "", 500.0, 8.0, 2.5, 10, 1.0, {"a": 8, "b": 2}, {"a": {}, "b": {}})
PHASES = {"warmup": (0.0, 2.5), "steady": (2.5, 8.0)}
HEALTH = Health(0.1, 0.01, 0.002, "timerfd")
ENDS = (Failure.NONE, Failure.STATUS, Failure.TIMEOUT, Failure.UNSENT, Failure.REFUSED)


def both(arrivals: Schedule, *, seed: int = 1, zero: float = 1000.0, parts: int = 1) -> tuple[LoadOutcome, list[Tally]]:
    """The same made-up run in rows, and in counts by each of *parts* recorders that took arrivals in turn."""
    generator, count = np.random.default_rng(seed), len(arrivals.intended)
    failures = generator.choice(len(ENDS), count, p=[0.94, 0.02, 0.02, 0.01, 0.01])
    lateness, latency = generator.exponential(50e-6, count), generator.lognormal(-5, 1, count)
    rows = RowRecorder(arrivals, zero, record=False)
    tallies = [TallyRecorder(arrivals, zero, grid(float(arrivals.intended[-1]), PHASES, arrivals.flows, arrivals.endpoints))
               for _ in range(parts)]  # fmt: skip
    end = zero + float(arrivals.intended[-1]) + 5
    for n in generator.permutation(count).tolist():
        began, failure = zero + arrivals.intended[n], ENDS[failures[n]]
        over = end if failure is Failure.UNSENT else began + lateness[n] + latency[n]
        for recorder in (rows, tallies[n % parts]):
            recorder.dispatched[n] = began + lateness[n]
            if failure not in (Failure.UNSENT, Failure.REFUSED):
                recorder.sent[n] = began + lateness[n] + 2e-5
            recorder.finish(n, over, failure, 200, "an example" if failure else "")
    shares = [len(range(part, count, parts)) for part in range(parts)]
    return rows.outcome(count, end, HEALTH, stopped=False), [
        tally.outcome(share, end, HEALTH, stopped=False) for tally, share in zip(tallies, shares, strict=True)
    ]


def one(arrivals: Schedule) -> tuple[LoadOutcome, Tally]:
    """Rows, and counts of one recorder."""
    rows, [tally] = both(arrivals)
    return rows, tally


@pytest.fixture(scope="module")
def runs() -> tuple[LoadOutcome, Tally]:
    """4,000 arrivals of two flows at two endpoints, recorded both ways."""
    return one(schedule(PLAN, ("x", "y"), seed=3))


def by_key(outcome: LoadOutcome | Tally) -> dict[str, Measurement]:
    """Measurements by criterion id."""
    return {each.key: each for each in measurements(outcome, phases=PHASES, seed=7)}


def test_every_measurement_of_rows_comes_out_of_counts(runs: tuple[LoadOutcome, Tally]) -> None:
    """The same keys; counts and ratios equal, percentiles within a bucket and their interval never narrower."""
    rows, tally = (by_key(each) for each in runs)
    assert rows.keys() == tally.keys()
    for key, wanted in rows.items():
        got = tally[key]
        assert got.n == wanted.n, key
        if wanted.unit is not Unit.SECONDS or key == "valid.clock":
            assert (got.value, got.interval) == (wanted.value, wanted.interval), key
            continue
        assert wanted.value - 0.6e-6 <= got.value <= wanted.value * 1.001 + 1.6e-6, key
        if wanted.interval is not None:
            assert got.interval is not None
            assert got.interval.low <= wanted.interval.low, key
            assert got.interval.high >= wanted.interval.high, key
            assert got.interval.low >= wanted.interval.low * 0.999 - 2e-6, key
            assert got.interval.high <= wanted.interval.high * 1.001 + 2e-6, key


def test_plots_and_tables_come_out_of_counts(runs: tuple[LoadOutcome, Tally]) -> None:
    """The same titles, points and rows; a time in a table may differ in its last digit."""
    rows, tally = (exhibits(each) for each in runs)
    assert [(type(each), each.title) for each in rows] == [(type(each), each.title) for each in tally]
    for wanted, got in zip(rows, tally, strict=True):
        if isinstance(wanted, Series | Quantiles):
            assert isinstance(got, Series | Quantiles)
            for one_line, other in zip(wanted.lines, got.lines, strict=True):
                assert np.array(other.points) == pytest.approx(np.array(one_line.points), rel=0.0011, abs=2e-6)
        elif isinstance(wanted, Table):
            assert isinstance(got, Table)
            assert [row[:3] for row in got.rows if row[0][:8] != "lateness"] == [
                row[:3] for row in wanted.rows if row[0][:8] != "lateness"
            ]


def test_the_time_series_come_out_of_counts(runs: tuple[LoadOutcome, Tally], tmp_path: Path) -> None:
    """A second that a phase cuts is one line again; counts without rows have no list of arrivals."""
    rows, tally = (write_evidence(each, tmp_path / name) for each, name in zip(runs, ("rows", "tally"), strict=True))
    assert {path.name for path in rows} - {path.name for path in tally} == {"arrivals.csv.gz"}
    wanted, got = (list(csv.reader((tmp_path / name / "seconds.csv").read_text().splitlines())) for name in ("rows", "tally"))
    assert [row[:3] for row in got] == [row[:3] for row in wanted]
    assert len(got) == 9


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 9), st.integers(0, 1000))
def test_counts_of_workers_merged_are_those_of_one(parts: int, seed: int) -> None:
    """Bit for bit, in whatever order they come: keys, counts, the first start and the last end."""
    arrivals = schedule(PLAN, ("x",), seed=seed)
    _, [whole] = both(arrivals, seed=seed)
    _, slices = both(arrivals, seed=seed, parts=parts)
    for found in (merged(slices), merged(slices[::-1])):
        for column in ("keys", "counts", "first", "last"):
            assert np.array_equal(getattr(found, column), getattr(whole, column)), column
        assert found.select().latency.histogram().encode() == whole.select().latency.histogram().encode()


def test_a_result_that_was_sent_is_the_same_and_small(runs: tuple[LoadOutcome, Tally]) -> None:
    """Packed for the way from a worker: a third of its counts' size at most."""
    sent = pickle.dumps(runs[1])
    back = pickle.loads(sent)
    for column in ("keys", "counts", "first", "last"):
        assert np.array_equal(getattr(back, column), getattr(runs[1], column)), column
    assert (back.grid, back.health, back.schedule_hash) == (runs[1].grid, HEALTH, runs[0].schedule_hash)
    assert len(sent) < (runs[1].keys.nbytes + runs[1].counts.nbytes) / 3


def test_a_slice_that_is_missing_is_seen_in_the_counts() -> None:
    """What was planned is not what was counted."""
    _, slices = both(schedule(PLAN, ("x",), seed=1), parts=4)
    assert merged(slices).due == 4000
    assert merged(slices[1:]).due == 3000


def test_counts_of_other_runs_do_not_add_up() -> None:
    """Another seed is another schedule."""
    _, one_run = one(schedule(PLAN, ("x",), seed=1))
    _, other = one(schedule(PLAN, ("x",), seed=2))
    with pytest.raises(TallyError, match="slices of different runs"):
        merged([one_run, other])
    with pytest.raises(TallyError, match="nothing to add up"):
        merged([])


def test_the_worse_health_counts_and_an_unknown_one_is_unknown() -> None:
    """A worker that could not read the machine's steal makes it unknown, which no criterion passes."""
    worse = Health(0.1, 0.2, 0.003, "timerfd").worse(Health(0.9, 0.1, 0.001, "timer"))
    assert worse == Health(0.9, 0.2, 0.003, "timerfd, timer")
    assert worse.worse(Health(0.1, None, 0.0, "timer")).steal is None


def test_a_phase_that_cuts_a_block_is_refused(runs: tuple[LoadOutcome, Tally]) -> None:
    """Half of a block's counts can't be told apart from the other half."""
    with pytest.raises(TallyError, match=r"3\.7 s lies between"):
        measurements(runs[1], phases={"odd": (3.7, 5.0)}, seed=1)


def test_an_arrival_that_was_taken_up_and_never_ended_was_never_sent() -> None:
    """As in rows: it is counted, and as an error."""
    arrivals = schedule(PLAN, ("x",), seed=1)
    recorder = TallyRecorder(arrivals, 0.0, grid(8.0, PHASES, arrivals.flows, arrivals.endpoints))
    recorder.dispatched[0] = 0.001
    assert recorder.outcome(1, 3.0, HEALTH, stopped=True).select().failures == {Failure.UNSENT: 1}


def test_arrivals_that_were_due_and_are_not_in_the_counts_are_an_error() -> None:
    """Counts that are too small are never a smaller run."""
    arrivals = schedule(PLAN, ("x",), seed=1)
    recorder = TallyRecorder(arrivals, 0.0, grid(8.0, PHASES, arrivals.flows, arrivals.endpoints))
    with pytest.raises(TallyError, match="2 arrivals became due and 0 were counted"):
        recorder.outcome(2, 3.0, HEALTH, stopped=True)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=30))
def test_what_was_written_to_the_file_comes_back(batches: list[list[int]]) -> None:
    """However often it is written in between."""
    spill = Spill(kept=20)
    for batch in batches:
        spill.add(np.array(batch, dtype=np.int64))
    keys, counts = spill.all()
    wanted = np.unique(np.array(sum(batches, []), dtype=np.int64), return_counts=True)
    assert (keys.tolist(), counts.tolist()) == (wanted[0].tolist(), wanted[1].tolist())


@pytest.mark.parametrize(("seconds", "length"), [(1, 1), (3600, 1), (3601, 2), (86_400, 30), (1e6, 278)])
def test_a_day_has_no_more_blocks_than_an_hour(seconds: float, length: int) -> None:
    """So that neither memory nor the bootstrap grows with it."""
    assert block_length(seconds) == length


def test_a_run_on_a_real_server_is_counted_whole() -> None:
    """Planned is due is sent is counted, with the flows and phases of the plan."""
    step = {"path": "/right", "check": {"json": {"ok": True}}}
    plan = LoadPlan("", "", 400.0, 0.5, 0.1, 10, 2.0, {"a": 3, "b": 1}, {"a": {"steps": [step]}, "b": {"steps": [step]}})
    with odd_server() as url:
        tally = tally_load(plan, {"main": url}, seed=1)
    found = {each.key: each for each in measurements(tally, phases=plan.phases, seed=1)}
    assert (tally.planned, tally.due, tally.select().sent, tally.select().right) == (200, 200, 200, 200)
    assert found["latency.p50@steady/a"].n == 120
    assert found["requests.count@warmup"].value == 40


@pytest.mark.end_to_end
def test_memory_does_not_grow_with_the_number_of_arrivals() -> None:
    """Two hundred thousand more arrivals leave nothing behind but what is in the file."""
    import tracemalloc

    count, rate = 300_000, 20_000.0
    zeros = np.zeros(count, dtype=np.int16)
    arrivals = Schedule(np.arange(count) / rate, zeros, zeros, ("do",), ("main",))
    recorder = TallyRecorder(arrivals, 0.0, grid(count / rate, {}, arrivals.flows, arrivals.endpoints))

    def tell(first: int, last: int) -> int:
        for n in range(first, last):
            due = n / rate
            recorder.dispatched[n] = recorder.sent[n] = due + 1e-4
            recorder.finish(n, due + 0.001 + (n % 977) * 1e-5, Failure.NONE, 200)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = tell(0, 100_000)
        # a batch, what is kept before it is written, and the lists' own room
        assert tell(100_000, count) - early < 1_000_000
    finally:
        tracemalloc.stop()
    assert recorder.outcome(count, 20.0, HEALTH, stopped=False).due == count
