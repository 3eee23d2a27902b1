"""A load over the workers of a dask cluster: one schedule, a slice for each worker, one start, and one tally of them all.

dask carries functions to workers and their results back; nothing of its scheduling is wanted. A slice belongs to its worker, is
run once, and is never moved: a load that silently became smaller, or was offered twice, would be worse than none.
"""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from multiprocessing import resource_tracker
from typing import Any

from gates.load import worker
from gates.load.engine import checked
from gates.load.flows import longest_thought
from gates.load.outcome import Health, SecondReport
from gates.load.plan import LoadPlan
from gates.load.preparation import prepared
from gates.load.scale import Scale, ScaleError
from gates.load.schedule import hash_of
from gates.load.tally import Tally, WorkerReport, merged

LEAD = 0.5
PATIENCE = 60.0
POLL = 0.25
GRACE = 30.0
LAST = 3.0
# Asked again until the offset of a worker's clock is known this well, or this often; not known well enough, no start is common.
WELL_KNOWN = 0.002
MOST_UNKNOWN = 0.1
ASKED = 50
OnStart = Callable[[float], None]
OnSecond = Callable[[SecondReport], None]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker with the offset of its wall clock, in seconds: its time minus ours."""

    address: str
    name: str
    offset: float
    uncertainty: float


def run_scaled(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    scale: Scale,
    *,
    seed: int,
    on_start: OnStart | None = None,
    on_second: OnSecond | None = None,
    stop: threading.Event | None = None,
    abandon: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
    lead: float = LEAD,
) -> Tally:
    """Run *plan* over all workers of *scale*, a slice each, and return their tallies added up.

    Raises ScaleError when the cluster can't be reached, when a worker is lost, when clocks are too far from known, or when what
    came back is not what was planned. *lead* is how long before second 0 the workers are told of it.
    """
    with connected(scale) as client:
        return run_on(
            client, found_workers(client), plan, endpoints, seed=seed, on_start=on_start, on_second=on_second, stop=stop,
            abandon=abandon, headers=headers, lead=lead,
        )  # fmt: skip


def run_on(
    client: Any,
    workers: list[Worker],
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    on_start: OnStart | None = None,
    on_second: OnSecond | None = None,
    stop: threading.Event | None = None,
    abandon: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
    lead: float = LEAD,
) -> Tally:
    """As `run_scaled`, on *workers* of the cluster of *client*."""
    wanted = hash_of(plan, checked(plan, endpoints), seed=seed)
    if plan.arrivals < len(workers):
        raise ScaleError(f"{plan.arrivals} arrivals are too few for {len(workers)} workers")
    run = _Run(client, workers, secrets.token_hex(8), stop or threading.Event(), abandon or threading.Event(), on_second)
    with prepared(plan, endpoints, seed=seed, headers=headers or {}) as preparation:
        tally = run.perform(plan, endpoints, headers or {}, seed, lead, on_start, preparation.captured)
    if tally.schedule_hash != wanted or tally.planned != plan.arrivals:
        raise ScaleError(
            f"{plan.arrivals:,} arrivals of the schedule {wanted[:16]} were planned, and the workers had {tally.planned:,} of"
            f" {tally.schedule_hash[:16]}"
        )
    return replace(tally, problems=tuple(preparation.problems))


# --- the cluster ------------------------------------------------------------------------------------------------------


@contextmanager
def connected(scale: Scale) -> Iterator[Any]:
    """A client of the cluster. One of this machine is started before and gone afterwards."""
    try:
        dask, distributed = import_module("dask"), import_module("distributed")
    except ImportError:
        raise ScaleError(
            "a load over workers needs the extra `scale`, which is not installed", hint='pip install "readiness-gates[scale]"'
        ) from None
    if scale.address:
        try:
            client = distributed.Client(scale.address, timeout=10, set_as_default=False)
        except OSError as error:
            raise ScaleError(f"no scheduler answers at {scale.address}: {error}", hint="start one: dask scheduler") from None
        with client:
            yield client
        return
    with dask.config.set(_LOCAL), _interrupts_held():
        cluster = distributed.LocalCluster(
            n_workers=scale.workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
            memory_limit=0, scheduler_kwargs={"dashboard_address": ANY_PORT},
        )  # fmt: skip
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, which a terminal sends to all: ours stops them in order."""
    resource_tracker.ensure_running()  # which lets interrupts through again when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What would move a slice, run it again, or take time from it.
# without a dashboard the scheduler still serves its own pages, at port 8787 unless it is told another
ANY_PORT = "127.0.0.1:0"
_LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.terminate": False,
}


def found_workers(client: Any) -> list[Worker]:
    """All workers, in the order of their addresses, which must have our release. Raises ScaleError."""
    addresses = sorted(client.nthreads())
    if not addresses:
        raise ScaleError("the cluster has no worker", hint="start some: dask worker HOST:PORT --nthreads 1")
    _check_releases(client.run(worker.release, workers=addresses, on_error="return"))
    names = client.scheduler_info(n_workers=-1)["workers"]
    return [_with_clock(client, address, str(names.get(address, {}).get("name", address))) for address in addresses]


def _check_releases(found: Mapping[str, Any]) -> None:
    ours = worker.release()
    for address, release in found.items():
        if isinstance(release, BaseException):
            raise ScaleError(
                f"worker {address} has no gates: {release}", hint="install readiness-gates[load] beside dask there"
            )
        if tuple(release) != ours:
            raise ScaleError(
                f"worker {address} has gates {release[0]} and numpy {release[1]}; expected {ours[0]} and {ours[1]}"
            )


def _with_clock(client: Any, address: str, name: str) -> Worker:
    """The offset is the middle of question and answer, and known to half of the time between them (as NTP has it)."""
    best = Worker(address, name, 0.0, float("inf"))
    for _ in range(ASKED):
        before = time.time()
        there = client.run(worker.wall_clock, workers=[address])[address]
        after = time.time()
        if (after - before) / 2 < best.uncertainty:
            best = Worker(address, name, there - (before + after) / 2, (after - before) / 2)
        if best.uncertainty <= WELL_KNOWN:
            break
    if best.uncertainty > MOST_UNKNOWN:
        raise ScaleError(
            f"the clock of worker {name} ({address}) is known to {best.uncertainty * 1e3:,.0f} ms only; expected at most"
            f" {MOST_UNKNOWN * 1e3:,.0f} ms",
            hint="nothing else may run on the workers, and the network to them must be quick",
        )
    return best


# --- a run ------------------------------------------------------------------------------------------------------------


class _Run:
    """One run over *workers*."""

    def __init__(
        self,
        client: Any,
        workers: list[Worker],
        name: str,
        stop: threading.Event,
        abandon: threading.Event,
        on_second: OnSecond | None,
    ) -> None:
        self._client = client
        self._workers = workers
        self._name = name
        self._stop, self._abandon = stop, abandon
        self._on_second = on_second
        self._seconds: dict[int, list[SecondReport]] = {}

    def perform(
        self,
        plan: LoadPlan,
        endpoints: Mapping[str, str],
        headers: Mapping[str, str],
        seed: int,
        lead: float,
        on_start: OnStart | None,
        captured: Mapping[str, str],
    ) -> Tally:
        slices = [
            worker.Slice(
                self._name,
                k,
                len(self._workers),
                plan,
                endpoints,
                headers,
                seed,
                PATIENCE,
                captured,
                self._on_second is not None,
            )
            for k in range(len(self._workers))
        ]
        futures = [
            self._client.submit(
                worker.perform, each, key=f"slice-{each.k}-{self._name}", workers=[there.address], allow_other_workers=False,
                retries=0, pure=False,
            )
            for each, there in zip(slices, self._workers, strict=True)
        ]  # fmt: skip
        try:
            self._await_ready(futures)
            start = time.time() + lead
            for k, there in enumerate(self._workers):
                self._call(k, worker.begin, start + there.offset)
            if on_start is not None:
                on_start(time.monotonic() + start - time.time())
            self._await_all(
                futures, time.monotonic() + lead + plan.seconds + plan.timeout + longest_thought(plan.flows) + GRACE
            )
            return merged([self._reported(k, future.result()) for k, future in enumerate(futures)])
        finally:
            self._end(futures)

    def _await_ready(self, futures: list[Any]) -> None:
        until = time.monotonic() + PATIENCE
        waiting = set(range(len(self._workers)))
        while waiting:
            self._check(futures)
            waiting = {k for k in waiting if not self._call(k, worker.is_ready)}
            if time.monotonic() > until:
                raise ScaleError(f"{self._named(min(waiting))} was not ready within {PATIENCE:g} s")
            if waiting:
                time.sleep(POLL / 5)

    def _await_all(self, futures: list[Any], until: float) -> None:
        told: set[bool] = set()
        while not all(future.done() for future in futures):
            self._check(futures)
            if self._on_second is not None:
                self._tell(self._on_second)
            if self._stop.is_set() and (abandon := self._abandon.is_set()) not in told:
                told.add(abandon)
                for k in range(len(self._workers)):
                    self._call(k, worker.stop, abandon)
            if time.monotonic() > until:
                late = next(k for k, future in enumerate(futures) if not future.done())
                raise ScaleError(f"{self._named(late)} did not end in time")
            time.sleep(POLL)
        self._check(futures)

    def _check(self, futures: list[Any]) -> None:
        """Raise ScaleError when a worker is gone, or its slice failed."""
        alive = self._client.nthreads()
        for k, (future, there) in enumerate(zip(futures, self._workers, strict=True)):
            if future.status == "finished":
                continue
            failed = future.exception(timeout=10) if future.status == "error" else None
            # which of the two is seen first when a worker dies, its absence or what became of its slice, is chance
            if there.address not in alive or future.status in ("cancelled", "lost") or _died(failed):
                raise ScaleError(
                    f"{self._named(k)} was lost: the load was smaller than planned, and what is left of it is no measurement",
                    hint="look at that worker's log; a killed worker is most often one without memory",
                )
            if failed is not None:
                raise ScaleError(f"{self._named(k)} failed: {failed}")

    def _call(self, k: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* in worker *k*, beside its slice; None when it is gone, which `_check` sees."""
        address = self._workers[k].address
        try:
            return self._client.run(function, self._name, k, *arguments, workers=[address])[address]
        except (OSError, KeyError, ValueError):
            return None

    def _tell(self, on_second: OnSecond) -> None:
        """A second is told when all workers have told it."""
        for k in range(len(self._workers)):
            for report in self._call(k, worker.told) or ():
                self._seconds.setdefault(report.second, []).append(report)
        for second in [second for second, reports in sorted(self._seconds.items()) if len(reports) == len(self._workers)]:
            on_second(_together(self._seconds.pop(second)))

    def _reported(self, k: int, tally: Tally) -> Tally:
        there, chosen = self._workers[k], tally.select()
        late = chosen.lateness.quantile(0.99) if chosen.count else 0.0
        report = WorkerReport(
            there.name, there.address, tally.planned, chosen.sent, tally.health, late, there.offset, there.uncertainty
        )
        return replace(tally, workers=(report,))

    def _named(self, k: int) -> str:
        there = self._workers[k]
        return f"worker {there.name} ({there.address}) with slice {k + 1} of {len(self._workers)}"

    def _end(self, futures: list[Any]) -> None:
        """Stop what still runs. A worker that was closed with a slice in it would be killed after a while, and say so."""
        for k, future in enumerate(futures):
            if not future.done():
                self._call(k, worker.stop, True)
        until = time.monotonic() + LAST
        while not all(future.done() for future in futures) and time.monotonic() < until:
            time.sleep(POLL / 5)
        self._client.cancel(futures, force=True)


def _died(failed: BaseException | None) -> bool:
    """Whether what became of a slice is that its worker died."""
    return isinstance(failed, import_module("distributed").KilledWorker)


def _together(reports: list[SecondReport]) -> SecondReport:
    first, states = reports[0], [each.health for each in reports]
    return replace(
        first,
        due=sum(each.due for each in reports),
        done=sum(each.done for each in reports),
        errors=sum(each.errors for each in reports),
        latencies=tuple(latency for each in reports for latency in each.latencies),
        scheduled=sum(each.scheduled for each in reports),
        failures=sum((Counter(each.failures) for each in reports), Counter()),
        flows={name: _added([each.flows.get(name, (0, 0)) for each in reports]) for name in first.flows},
        late=max(each.late for each in reports),
        health=None if None in states else reduce(Health.worse, [each for each in states if each is not None]),
    )


def _added(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(count for count, _ in pairs), sum(errors for _, errors in pairs)
