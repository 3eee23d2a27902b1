"""The parts of the comparison that need no peer: lateness, the cost of recording, memory, and schedules over workers.

As a program it is the generator whose lateness or memory is measured: `load_parts.py lateness URL METHOD SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RATE = 1000.0
BATCH = 2000  # what a closed loop at 100,000/s has after its 20 ms
WORKERS = (1, 2, 8)
MEGABYTE = 1024 * 1024
METHODS = ("timer", "asyncio.sleep", "spin")


class SleepPacer:
    """What most generators do: `await asyncio.sleep` until the next arrival is due."""

    name = "asyncio.sleep"

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None], _: str = "") -> None:
        self._loop, self._callback = loop, callback
        self._task: asyncio.Task[None] | None = None

    def wake_at(self, when: float) -> None:
        self._task = self._loop.create_task(self._sleep(when))

    async def _sleep(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))
        self._callback()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def lateness(url: str, method: str, seconds: float) -> dict[str, float]:
    """Median lateness in microseconds, and processor time over time, of 1,000 requests a second in this process."""
    import numpy as np

    from gates.load import engine
    from gates.load.plan import LoadPlan

    pacing = "spin" if method == "spin" else "timer"
    if method == "asyncio.sleep":
        engine.pacer = SleepPacer  # type: ignore[assignment]
    flow = {"steps": [{"path": "/static.json", "check": {"json": {"status": "ok"}}}]}
    plan = LoadPlan("", "", RATE, seconds, 0.0, 64, 5.0, {"ask": 1}, {"ask": flow}, pacing=pacing)
    outcome = engine.run_load(plan, {"main": url}, seed=1)
    if outcome.failures:
        raise RuntimeError(str(outcome.examples))
    late = np.maximum(outcome.lateness, 0) * 1e6
    return {"p50": float(np.median(late)), "p99": float(np.quantile(late, 0.99)), "cpu": outcome.health.cpu}


def recording(rounds: int, count: int = 100_000) -> list[tuple[float, float]]:
    """Nanoseconds a value, ours (appended to a list, counted two thousand at a time) and hdrhistogram's, in turns."""
    from hdrh.histogram import HdrHistogram

    from gates.load.histogram import Histogram

    generator = random.Random(1)
    seconds = [generator.lognormvariate(-7, 1.0) for _ in range(count)]
    microseconds = [round(value * 1e6) for value in seconds]
    theirs = HdrHistogram(1, 100_000_000_000, 3)
    return [(_own(Histogram(), seconds), _peer(theirs, microseconds)) for _ in range(rounds)]


def _own(histogram: Any, values: list[float]) -> float:
    batches = [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
    began, batch = time.thread_time(), list[float]()
    took = batch.append
    for some in batches:
        for value in some:
            took(value)
        histogram.record_seconds(batch)
        batch.clear()
    return (time.thread_time() - began) / len(values) * 1e9


def _peer(histogram: Any, values: list[int]) -> float:
    began, record = time.thread_time(), histogram.record_value
    for value in values:
        record(value)
    return (time.thread_time() - began) / len(values) * 1e9


def memory(core: int, url: str, requests: int, folder: Path) -> dict[str, float]:
    """Resident bytes of a closed loop of *requests* after the first tenth and at most after it, sampled four times a second."""
    command = ["taskset", "-c", str(core), sys.executable, __file__, "memory", url, str(requests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        samples = [json.loads(line) for line in process.stdout]
    if process.wait():
        raise RuntimeError("the process whose memory was measured has failed")
    later = [sample["rss"] for sample in samples if sample["done"] >= requests / 10]
    return {"requests": samples[-1]["done"], "before": later[0], "most": max(later), "growth": max(later) - later[0]}


def _serve_memory(url: str, requests: int) -> None:
    """Run the closed loop in a thread, and print how many were answered and what is resident, until there were enough."""
    import threading

    from gates.load.closed import run_closed
    from gates.load.plan import LoadPlan

    check = {"status": 200, "json": {"status": "ok"}}
    flows = {name: {"steps": [{"path": "/static.json", "check": check}]} for name in ("ask", "look")}
    plan = LoadPlan("", "", RATE, 3600.0, 0.0, 64, 5.0, {"ask": 3, "look": 1}, flows)
    stop, done = threading.Event(), 0

    def count(report: Any) -> None:
        nonlocal done
        done += report.done
        print(json.dumps({"done": done, "rss": _resident()}), flush=True)
        if done >= requests:
            stop.set()

    run_closed(plan, {"main": url}, seed=1, on_second=count, stop=stop)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def slice_of(k: int, n: int) -> tuple[str, Any]:
    """Worker *k* of *n*: the hash of the whole schedule and its own part, from the plan and the seed alone."""
    from gates.load.schedule import schedule

    whole = schedule(_plan(), ("a", "b", "c"), seed=7)
    part = whole.slice(k, n)
    return part.hash or whole.hash, (part.intended, part.flow, part.endpoint)


def _plan() -> Any:
    from gates.load.plan import LoadPlan

    flow = {"steps": [{"path": "/"}]}
    return LoadPlan("", "", 2000.0, 30.0, 0.0, 50, 10.0, {"a": 8, "b": 2}, {"a": flow, "b": flow})


def hashes() -> dict[int, str]:
    """The hash of the arrivals that 1, 2 and 8 workers, each a process of its own, have together."""
    return {n: _together(n) for n in WORKERS}


def _together(n: int) -> str:
    import numpy as np

    from gates.load.schedule import Schedule, ScheduleHash, schedule

    with multiprocessing.get_context("spawn").Pool(min(n, 2)) as pool:
        parts = pool.starmap(slice_of, [(k, n) for k in range(n)])
    template = schedule(_plan(), ("a", "b", "c"), seed=8)
    columns = []
    for index, column in enumerate((template.intended, template.flow, template.endpoint)):
        made = np.empty_like(column)
        for k, (_, part) in enumerate(parts):
            made[k::n] = part[index]
        columns.append(made)
    found = ScheduleHash().add(Schedule(*columns, template.flows, template.endpoints)).hex
    told = {claimed for claimed, _ in parts}
    return found if told == {found} else f"{found}, but the workers say {', '.join(sorted(told))}"


def in_process(core: int, *arguments: str) -> dict[str, float]:
    """What this file prints as a program with *arguments* on *core*."""
    command = ["taskset", "-c", str(core), sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)  # type: ignore[no-any-return]


def median_and_spread(values: list[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    return statistics.median(values), min(values), max(values)


def cores() -> tuple[int, int]:
    """One for the server and one for the clients. Raises RuntimeError where there is only one."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        raise RuntimeError("the comparison needs two cores: one for the server, one for the clients")
    return there[0], there[-1]


if __name__ == "__main__":
    if sys.argv[1] == "lateness":
        print(json.dumps(lateness(sys.argv[2], sys.argv[3], float(sys.argv[4]))))
    else:
        _serve_memory(sys.argv[2], int(sys.argv[3]))
