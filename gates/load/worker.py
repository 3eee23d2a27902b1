"""What happens in a worker of a scaled-out load: one slice of the schedule, from a start that all workers share.

These functions are called by dask, `perform` in the worker's one thread and the others beside it, in the thread of its event
loop. A slice begins only when it is told when; one that the scheduler runs a second time is never told, and ends with an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gates.load.outcome import SecondReport
from gates.load.plan import LoadPlan
from gates.load.scale import ScaleError
from gates.load.tally import Tally


@dataclass(frozen=True, slots=True)
class Slice:
    """Arrivals k, k + n, k + 2n, ... of *plan*'s schedule.

    *patience* is how long the start is waited for, in seconds; *captured* is of the set-up, which ran once and elsewhere; only
    one that is *watched* keeps what `told` gives.
    """

    run: str
    k: int
    n: int
    plan: LoadPlan
    endpoints: Mapping[str, str]
    headers: Mapping[str, str]
    seed: int
    patience: float
    captured: Mapping[str, str] = field(default_factory=dict)
    watched: bool = False


@dataclass(slots=True)
class _Job:
    """A slice that is under way in this process."""

    ready: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    abandon: threading.Event = field(default_factory=threading.Event)
    start: float = 0.0
    seconds: list[SecondReport] = field(default_factory=list)


_JOBS: dict[tuple[str, int], _Job] = {}


def perform(given: Slice) -> Tally:
    """Make everything ready, wait until the start is told, and run the slice. Raises ScaleError when it can't start then."""
    from gates.load.engine import tally_load

    job = _JOBS[given.run, given.k] = _Job()

    def start() -> float:
        job.ready.set()
        if not job.told.wait(given.patience):
            raise ScaleError(f"slice {given.k + 1} of {given.n} was not told when to start within {given.patience:g} s")
        left = job.start - time.time()
        if left < 0:
            raise ScaleError(f"slice {given.k + 1} of {given.n} was told its start {-left:.3f} s after it")
        return time.monotonic() + left

    try:
        return tally_load(
            given.plan,
            given.endpoints,
            seed=given.seed,
            headers=given.headers,
            given=given.captured,
            part=(given.k, given.n),
            start=start,
            stop=job.stop,
            abandon=job.abandon,
            on_second=job.seconds.append if given.watched else None,
        )
    finally:
        del _JOBS[given.run, given.k]


def is_ready(run: str, k: int) -> bool:
    """Whether the slice waits for its start."""
    job = _JOBS.get((run, k))
    return job is not None and job.ready.is_set()


def begin(run: str, k: int, start: float) -> None:
    """Tell the slice its second 0, by this machine's wall clock."""
    job = _JOBS.get((run, k))
    if job is not None:
        job.start = start
        job.told.set()


def stop(run: str, k: int, abandon: bool) -> None:
    """Let no more arrivals of the slice start; with *abandon* it does not wait for its last answers either."""
    job = _JOBS.get((run, k))
    if job is not None:
        if abandon:
            job.abandon.set()
        job.stop.set()
        job.told.set()


def told(run: str, k: int) -> list[SecondReport]:
    """What the slice said since it was asked last."""
    job = _JOBS.get((run, k))
    if job is None:
        return []
    found = job.seconds[:]
    del job.seconds[: len(found)]
    return found


def wall_clock() -> float:
    return time.time()


def release() -> tuple[str, str]:
    """Versions of this package and of numpy, on which the schedule depends."""
    from importlib.metadata import version

    return version("readiness-gates"), version("numpy")
