"""What a load costs when it is kept as counts, for docs/scaling.md: `./noxw -s scaling -- [SECONDS]`.

Prints the processor time of a request in the engine with rows and with counts, its bytes on the loopback interface, what the
recorders take of that time, how much memory ten million arrivals leave in the recorder of counts, the size of a worker's result
and the time to add two up, and what a value costs our histogram and the package hdrhistogram. The tests have the assertions.
"""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from load_engine import CASES, SERVER

from gates.load.engine import run_load, tally_load
from gates.load.failure import Failure
from gates.load.histogram import DEFAULT, Histogram
from gates.load.outcome import Health
from gates.load.plan import LoadPlan
from gates.load.recorder import RowRecorder
from gates.load.schedule import Schedule
from gates.load.tally import Tally, grid, merged
from gates.load.tally_recorder import TallyRecorder

RATE = 5_000.0
BATCH = 4_000
STEP = 100_000
TEN_MILLION = 10_000_000
HEALTH = Health(0.0, 0.0, 0.0, "timerfd")


def engine(url: str, name: str, seconds: float, run: Callable[..., Any]) -> tuple[float, float, float]:
    """Of a request: microseconds of processor time, bytes and packets through the loopback interface, both ways."""
    plan = LoadPlan("", "", RATE, seconds, 0.0, 32, 5.0, {"do": 1}, {"do": {"steps": [CASES[name][0]]}})
    before = loopback()
    outcome = run(plan, {"main": url}, seed=1)
    size, packets = (after - earlier for after, earlier in zip(loopback(), before, strict=True))
    return outcome.health.cpu * outcome.end / outcome.due * 1e6, size / outcome.due, packets / outcome.due


def loopback() -> tuple[int, int]:
    """Bytes and packets that the loopback interface has carried."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    size, packets = line.split(":")[1].split()[:2]
    return int(size), int(packets)


def arrivals(count: int, rate: float) -> Schedule:
    """A constant rate of one flow."""
    zeros = np.zeros(count, dtype=np.int16)
    return Schedule(np.arange(count) / rate, zeros, zeros, ("do",), ("main",))


def fed(recorder: RowRecorder | TallyRecorder, rate: float, first: int, count: int, latencies: list[float]) -> float:
    """Tell of *count* arrivals; the seconds of processor time that it took."""
    dispatched, sent, finish, none = recorder.dispatched, recorder.sent, recorder.finish, Failure.NONE
    began = time.thread_time()
    for n, latency in zip(range(first, first + count), latencies, strict=False):
        due = n / rate
        dispatched[n] = due + 5e-5
        sent[n] = due + 6e-5
        finish(n, due + latency, none, 200)
    return time.thread_time() - began


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def recorders(rate: float) -> None:
    """What an arrival costs each recorder, and what ten million leave."""
    latencies = np.random.default_rng(1).lognormal(-6.5, 0.7, STEP).tolist()
    few = arrivals(STEP, rate)
    rows = fed(RowRecorder(few, 0.0, record=False), rate, 0, STEP, latencies)
    many = arrivals(TEN_MILLION, rate)
    recorder = TallyRecorder(many, 0.0, grid(float(many.intended[-1]), {}, many.flows, many.endpoints))
    spent = fed(recorder, rate, 0, STEP, latencies)
    before = resident()
    for first in range(STEP, TEN_MILLION, STEP):
        spent += fed(recorder, rate, first, STEP, latencies)
    growth = resident() - before
    began = time.thread_time()
    tally = recorder.outcome(TEN_MILLION, TEN_MILLION / rate, HEALTH, stopped=False)
    print(f"recorder of rows              {rows / STEP * 1e9:10.0f} ns an arrival")
    print(f"recorder of counts            {spent / TEN_MILLION * 1e9:10.0f} ns an arrival")
    print(f"memory, 10 million arrivals   {growth / 2**20:10.2f} MiB more than after 100,000")
    print(f"adding up what was written    {time.thread_time() - began:10.2f} s")
    results(tally)


def results(tally: Tally) -> None:
    """What a worker sends, and what adding up costs."""
    size = len(pickle.dumps(tally))
    began = time.thread_time()
    merged([tally, tally])
    seconds = len(tally.grid.edges) - 1
    print(f"result of a worker            {size / 2**20:10.2f} MiB for {seconds} s, {size / seconds / 1024:.1f} KiB a second")
    print(f"adding two results up         {(time.thread_time() - began) * 1e3:10.0f} ms")


def histograms() -> None:
    """Nanoseconds a value, of ours by batches of four thousand and of the package."""
    from hdrh.histogram import HdrHistogram

    values = np.random.default_rng(1).lognormal(7, 1, STEP).astype(np.int64).tolist()
    ours, batch = Histogram(), list[int]()
    began = time.thread_time()
    append = batch.append
    for first in range(0, STEP, BATCH):
        for value in values[first : first + BATCH]:
            append(value)
        ours.record(batch)
        batch.clear()
    mine = time.thread_time() - began
    other = HdrHistogram(DEFAULT.lowest, DEFAULT.highest, DEFAULT.digits)
    began = time.thread_time()
    for value in values:
        other.record_value(value)
    theirs = time.thread_time() - began
    costs = f"{mine / STEP * 1e9:10.0f} ns, hdrhistogram {theirs / STEP * 1e9:.0f} ns, {theirs / mine:.0f} times"
    print(f"histogram, a value            {costs}")


def main() -> None:
    """Print a line a figure."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            for name in ("bare", "checked"):
                rows, _, _ = engine(url, name, seconds, run_load)
                counts, size, packets = engine(url, name, seconds, tally_load)
                print(f"engine, {name:<8} at {RATE:g}/s   {rows:10.1f} µs a request with rows, {counts:.1f} with counts")
                print(f"network                       {size:10.0f} bytes and {packets:.2f} packets a request, both ways")
        finally:
            server.kill()
    histograms()
    recorders(20_000.0)


if __name__ == "__main__":
    main()
