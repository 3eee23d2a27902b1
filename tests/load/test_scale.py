"""A load over workers: real processes of a real dask cluster, against a real server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from odd_server import odd_server

from gates.load import worker
from gates.load.engine import shares
from gates.load.measure import measurements
from gates.load.outcome import SecondReport
from gates.load.plan import LoadPlan
from gates.load.scale import Scale, ScaleError, scale_of
from gates.load.schedule import hash_of, schedule

PLAN = LoadPlan(
    "", "", 200.0, 2.0, 0.5, 8, 5.0, {"do": 1}, {"do": {"steps": [{"path": "/right", "check": {"json": {"ok": True}}}]}}
)
TWO = Scale(workers=2)
LEAD = 2.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local:2", Scale(workers=2)),
        ("dask://scheduler.example:8786", Scale(address="tcp://scheduler.example:8786")),
        ("dask://[::1]:8786", Scale(address="tcp://[::1]:8786")),
    ],
)
def test_where_a_load_runs_is_one_word(text: str, expected: Scale) -> None:
    """Processes of this machine, or a scheduler's address."""
    assert scale_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "local", "local:0", "local:65", "local:-1", "dask://", "dask://host", "dask://h:0", "ssh://a:1"]
)
def test_what_is_no_place_is_told_with_what_was_expected(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="expected local:N with N from 1 to 64, or dask://HOST:PORT"):
        scale_of(text)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_slices_are_the_one_schedule_whoever_runs_them(workers: int) -> None:
    """Together they are all of its arrivals, each once, and each slice knows the hash of the whole."""
    whole = schedule(PLAN, ("x",), seed=4)
    slices = [whole.slice(k, workers) for k in range(workers)]
    assert {each.hash for each in slices} == {whole.hash, hash_of(PLAN, ("x",), seed=4)}
    assert sorted(each.number(row) for each in slices for row in range(len(each.intended))) == list(range(400))


def test_connections_go_where_a_slice_has_its_arrivals() -> None:
    """Of two endpoints each of two workers has one for itself, and then all of its connections; three share both."""
    whole = schedule(PLAN, ("x", "y"), seed=4)
    assert [shares(whole.slice(k, 2), whole) for k in range(2)] == [[1.0, 0.0], [0.0, 1.0]]
    assert shares(whole.slice(0, 3), whole) == pytest.approx([1 / 3, 1 / 3], abs=0.01)
    assert shares(whole, whole) == [1.0, 1.0]


@pytest.mark.end_to_end
def test_two_workers_carry_one_load_to_the_last_arrival(url: str) -> None:
    """Planned is sent is counted, over a slice each; the workers stand in the outcome with their clocks."""
    from gates.load.scaled import run_scaled

    seconds: list[SecondReport] = []
    started: list[float] = []
    tally = run_scaled(PLAN, {"main": url}, TWO, seed=4, on_start=started.append, on_second=seconds.append, lead=LEAD)
    whole = tally.select()
    assert (tally.planned, whole.count, whole.sent, whole.right) == (400, 400, 400, 400)
    assert tally.schedule_hash == hash_of(PLAN, ("main",), seed=4)
    assert [report.planned for report in tally.workers] == [200, 200]
    assert all(abs(report.offset) <= report.uncertainty + 0.01 for report in tally.workers)
    found = {each.key: each for each in measurements(tally, phases=PLAN.phases, seed=1)}
    assert found["latency.p99@steady"].n == 300
    assert started
    assert started[0] < time.monotonic()
    assert all(report.due <= 400 for report in seconds)


@pytest.mark.end_to_end
def test_two_clusters_stand_beside_each_other() -> None:
    """A scheduler takes any port for its pages: with one for all, the second of two runs would warn, which is an error here."""
    from gates.load.scaled import connected

    with connected(Scale(workers=1)) as first, connected(Scale(workers=1)) as second:
        assert first.scheduler.address != second.scheduler.address


@pytest.mark.end_to_end
def test_a_worker_that_is_killed_makes_the_run_inconclusive_and_is_named(url: str) -> None:
    """Half of a load is no load: nothing is handed back, whatever the other half measured."""
    from dataclasses import replace

    from gates.load.scaled import connected, found_workers, run_on

    with connected(TWO) as client:
        workers = found_workers(client)
        victim = workers[1]
        pid = client.run(os.getpid, workers=[victim.address])[victim.address]

        def kill(_: float) -> None:
            threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()

        with pytest.raises(
            ScaleError, match=rf"worker {victim.name} \({victim.address}\) with slice 2 of 2 was lost"
        ) as raised:
            run_on(client, workers, replace(PLAN, seconds=20.0), {"main": url}, seed=4, on_start=kill, lead=LEAD)
    assert raised.value.code == 3


def test_a_worker_that_died_is_lost_also_where_its_slice_is_told_first() -> None:
    """The scheduler fails a slice and takes the worker from its list one after the other; a look may fall between."""
    from distributed import KilledWorker

    from gates.load.scaled import Worker, _Run

    there = Worker("tcp://127.0.0.1:1", "1", 0.0, 0.0)
    client = SimpleNamespace(nthreads=lambda: {there.address: 1})
    died = SimpleNamespace(status="error", exception=lambda timeout: KilledWorker("slice-0", SimpleNamespace(), 0))
    broke = SimpleNamespace(status="error", exception=lambda timeout: ValueError("no such endpoint"))
    run = _Run(client, [there], "r", threading.Event(), threading.Event(), None)
    with pytest.raises(ScaleError, match=r"worker 1 \(tcp://127.0.0.1:1\) with slice 1 of 1 was lost"):
        run._check([died])
    with pytest.raises(ScaleError, match=r"slice 1 of 1 failed: no such endpoint"):
        run._check([broke])


@pytest.mark.end_to_end
def test_stopping_stops_every_worker_and_keeps_what_was_measured(url: str) -> None:
    """What became due until then is counted, less than was planned."""
    from dataclasses import replace

    from gates.load.scaled import run_scaled

    stop = threading.Event()
    tally = run_scaled(
        replace(PLAN, seconds=60.0), {"main": url}, TWO, seed=4, stop=stop, on_second=lambda _: stop.set(), lead=LEAD
    )
    assert tally.stopped
    assert tally.planned == 12_000
    assert 200 <= tally.due < 12_000


def a_slice(**more: Any) -> worker.Slice:
    """A slice of the plan, to be run in this process."""
    given: dict[str, Any] = {
        "run": "r",
        "k": 0,
        "n": 2,
        "plan": PLAN,
        "endpoints": {"main": "http://127.0.0.1:1"},
        "headers": {},
    }
    return worker.Slice(**{**given, "seed": 4, "patience": 0.01, **more})


def test_a_slice_that_nobody_tells_its_start_does_not_run() -> None:
    """As when a scheduler runs it a second time on its own: load is never offered twice."""
    with pytest.raises(ScaleError, match="slice 1 of 2 was not told when to start"):
        worker.perform(a_slice())


def test_a_slice_that_is_told_its_start_too_late_does_not_run() -> None:
    """It would send what it missed at once, in a heap."""
    ended: list[BaseException] = []

    def work() -> None:
        try:
            worker.perform(a_slice(patience=30.0))
        except ScaleError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until = time.monotonic() + 30
    while not worker.is_ready("r", 0) and time.monotonic() < until:
        time.sleep(0.001)
    worker.begin("r", 0, time.time() - 1)
    thread.join()
    assert "was told its start" in str(ended[0])


def test_a_slice_that_nobody_watches_keeps_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would pile up for as long as the load lasts."""
    listening: list[Any] = []
    monkeypatch.setattr("gates.load.engine.tally_load", lambda *_, on_second, **__: listening.append(on_second))
    worker.perform(a_slice())
    worker.perform(a_slice(watched=True))
    assert [each is not None for each in listening] == [False, True]


@pytest.mark.parametrize("on_second", [None, print])
def test_slices_are_watched_when_somebody_listens(on_second: Any) -> None:
    """Only then are workers asked for their seconds."""
    from gates.load.scaled import Worker, run_on

    class Taker:
        """Of a cluster what takes a slice, and fails."""

        def submit(self, function: Any, given: worker.Slice, **_: Any) -> None:
            raise LookupError(given.watched)

    with pytest.raises(LookupError, match=str(on_second is not None)):
        run_on(Taker(), [Worker("tcp://a:1", "w", 0, 0)], PLAN, {"main": "http://127.0.0.1:1"}, seed=1, on_second=on_second)


class _Cluster:
    """Of a cluster what is asked before a run."""

    def __init__(self, release: object = None, delay: float = 0.0) -> None:
        self.release = release or worker.release()
        self.delay = delay

    def nthreads(self) -> dict[str, int]:
        return {"tcp://a:1": 1}

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {"tcp://a:1": {"name": "w"}}}

    def run(self, function: Any, **_: Any) -> dict[str, Any]:
        time.sleep(self.delay)
        return {"tcp://a:1": self.release if function is worker.release else time.time() + 7}


def test_the_offset_of_a_workers_clock_is_measured() -> None:
    """Seven seconds ahead, known to half of the time that asking took."""
    from gates.load.scaled import found_workers

    [found] = found_workers(_Cluster())
    assert found.offset == pytest.approx(7, abs=found.uncertainty + 1e-4)
    assert found.uncertainty < 0.1


@pytest.mark.parametrize(
    ("release", "problem"),
    [
        (("0.0.1", "2.0"), "has gates 0.0.1 and numpy 2.0; expected"),
        (ModuleNotFoundError("no gates"), "has no gates: no gates"),
    ],
)
def test_workers_of_another_release_are_refused(release: object, problem: str) -> None:
    """Another numpy could draw another schedule."""
    from gates.load.scaled import found_workers

    with pytest.raises(ScaleError, match=problem):
        found_workers(_Cluster(release))


def test_a_clock_that_is_not_known_well_enough_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that start apart are not the schedule."""
    from gates.load import scaled

    monkeypatch.setattr(scaled, "ASKED", 2)
    monkeypatch.setattr(scaled, "MOST_UNKNOWN", 0.01)
    with pytest.raises(ScaleError, match=r"the clock of worker w \(tcp://a:1\) is known to"):
        scaled.found_workers(_Cluster(delay=0.03))
