"""Carrying out jobs: Echo at once, Cpu in a process with limits, and one signed receipt each, however often it is asked for.

What was done for another node is written down before it is answered, so that asking again, after a lost answer or a restart of
either side, gives the receipt that was signed first.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gates.node import cpu_job, http, ledger, receipts
from gates.node.cid import decode
from gates.node.errors import Refusal
from gates.node.identity import Identity
from gates.node.metrics_jobs import JobMetrics
from gates.node.receipts import Receipt
from gates.node.storage import Storage, Transaction
from gates.node.submission import check_spec

TABLES = """
CREATE TABLE IF NOT EXISTS executions (
    coordinator TEXT NOT NULL, job TEXT NOT NULL, receipt BLOB NOT NULL, result TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (coordinator, job));
CREATE INDEX IF NOT EXISTS executions_by_age ON executions (at)
"""
KEPT_MS = 600_000
"""A coordinator that comes back later has the job carried out again, which gives the same result."""
LONGEST_QUEUE = 1000
UNCLAIMED = 60.0
"""Seconds after which a computed result is forgotten that its coordinator does not fetch; it may have given this node up."""
_PROGRAM = str(Path(cpu_job.__file__))
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """A job that is to be carried out: its id and its specification."""

    job: str
    spec: Mapping[str, Any]

    def sent(self) -> list[Any]:
        """As the executor reads it."""
        return [self.job, self.spec]


def read_order(value: Any) -> Order:
    """The order in what a coordinator sent: [id, specification]. Raises Refusal with 422."""
    if not isinstance(value, list) or len(value) != 2:
        raise Refusal(422, "jobs: expected [id, specification]")
    check_spec(value[1])
    return Order(http.text({"job": value[0]}, "job", longest=128), value[1])


@dataclass(frozen=True, slots=True)
class Done:
    """A job that was carried out: the receipt, and the result or the reason why there is none."""

    receipt: Receipt
    result: str

    def sent(self) -> list[Any]:
        """As the coordinator reads it."""
        return [self.receipt.document(), self.result]

    @classmethod
    def read(cls, value: Any, executor: str) -> Done:
        """What *executor* sent. Raises Refusal with 422 unless it is its own receipt, genuine, and that of this result."""
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
            raise Refusal(422, "expected [receipt, result]")
        receipt = receipts.read_document(value[0])
        if receipt.executor != executor or not receipt.genuine() or not receipt.of(value[1]):
            raise Refusal(422, "the receipt is not signed by its executor, or not that of the result")
        return cls(receipt, value[1])


@dataclass(slots=True)
class Answer:
    """What became of a batch: done, still under way, and what this node does not carry out."""

    done: list[Done] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Executions:
    """The jobs that this node carries out.

    Args:
        store: keeps the receipts of what was done for other nodes.
        limit_s: wall clock and processor time of a Cpu job.
        slots: so many Cpu jobs run at once; by default one less than there are cores, so that the node keeps one.
    """

    def __init__(
        self,
        identity: Identity,
        store: Storage,
        *,
        metrics: JobMetrics,
        now: Callable[[], int],
        limit_s: float,
        slots: int | None = None,
    ) -> None:
        self._identity, self._store, self._metrics, self._now = identity, store, metrics, now
        self._limit = limit_s
        self._slots = asyncio.Semaphore(slots or max(1, (os.cpu_count() or 1) - 1))
        self._computing: dict[Key, asyncio.Task[Done]] = {}
        self._killed: set[asyncio.Task[Done]] = set()
        self._recent, self._counted = 0.0, now()
        metrics.computing.set_function(lambda: float(len(self._computing)))

    @property
    def load(self) -> int:
        """How busy the node is: Cpu jobs at hand, and what it carried out in the last second or so."""
        return len(self._computing) + round(self._fade())

    async def carry_out(self, coordinator: str, orders: Sequence[Order], wait: float = 0.0) -> Answer:
        """Carry out *orders*, and wait up to *wait* seconds for one of them when none is done at once. Raises FAILURES."""
        answer, done = self._set_about(coordinator, orders)
        mine = [(coordinator, order.job) for order in orders if (coordinator, order.job) in self._computing]
        if mine and not done and not answer.done:
            await asyncio.wait([self._computing[key] for key in mine], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        ready = [key for key in mine if key in self._computing and self._computing[key].done()]
        answer.refused += [key[1] for key in ready if _broken(self._computing[key])]
        done += [self._computing[key].result() for key in ready if not _broken(self._computing[key])]
        answer.done += await self._kept(coordinator, done)
        for key in ready:
            self._computing.pop(key, None)
        answer.pending = [job for _, job in mine if (coordinator, job) in self._computing]
        return answer

    def _set_about(self, coordinator: str, orders: Sequence[Order]) -> tuple[Answer, list[Done]]:
        """Begin with *orders*: what was done before and what is refused, and what is done at once."""
        answer, done = Answer(), []
        known = self._known(coordinator, [order.job for order in orders if "Cpu" in order.spec["kind"]])
        for order in orders:
            if order.job in known:
                answer.done.append(known[order.job])
            elif "Echo" in order.spec["kind"]:
                done.append(self._echo(order))
            elif not self._begin(coordinator, order):
                answer.refused.append(order.job)
        return answer, done

    def cancel(self, coordinator: str, jobs: Iterable[str]) -> None:
        """Stop the Cpu jobs among *jobs*."""
        for job in jobs:
            self._kill((coordinator, job))

    async def stop(self) -> None:
        """Kill what is computing; who ordered it asks again after the restart."""
        for key in list(self._computing):
            self._kill(key)
        await asyncio.gather(*self._killed, return_exceptions=True)

    def _kill(self, key: Key) -> None:
        task = self._computing.pop(key, None)
        if task is not None and task.cancel():  # once: a second time would interrupt the wait for the end of its process
            self._killed.add(task)
            task.add_done_callback(self._killed.discard)

    def _fade(self) -> float:
        now = self._now()
        self._recent *= 0.5 ** (max(0, now - self._counted) / 1000)
        self._counted = now
        return self._recent

    # --- receipts -----------------------------------------------------------------------------------------------------

    def _known(self, coordinator: str, jobs: Sequence[str]) -> dict[str, Done]:
        if not jobs:
            return {}
        query = f"SELECT job, receipt, result FROM executions WHERE coordinator = ? AND job IN ({_marks(jobs)})"
        return {job: _done(receipt, result) for job, receipt, result in self._store.read(query, (coordinator, *jobs))}

    async def _kept(self, coordinator: str, done: list[Done]) -> list[Done]:
        """*done* once it is durable, with the receipts that were signed first."""
        if not done or coordinator == self._identity.did:  # what is done at home is written with the job's own row
            return done
        now = self._now()
        return await self._store.write(lambda tx: _keep(tx, coordinator, done, now))

    def _signed(self, job: str, result: str, cpu_ms: int, *, success: bool) -> Done:
        self._recent = self._fade() + 1
        return Done(receipts.make(self._identity, job, result, cpu_ms, success=success), result)

    # --- the work -----------------------------------------------------------------------------------------------------

    def _echo(self, order: Order) -> Done:
        started = time.perf_counter()
        result: str = order.spec["kind"]["Echo"]["payload"]
        done = self._signed(order.job, result, 0, success=True)
        self._metrics.executions.labels("Echo", "success").inc()
        self._metrics.seconds.labels("Echo").observe(time.perf_counter() - started)
        return done

    def _begin(self, coordinator: str, order: Order) -> bool:
        """Have a Cpu job computed unless it is; False for another kind, and when too many wait."""
        key, work = (coordinator, order.job), order.spec["kind"].get("Cpu")
        if key in self._computing:
            return True
        if work is None or len(self._computing) >= LONGEST_QUEUE:
            return False
        task = self._computing[key] = asyncio.create_task(self._cpu(order.job, work["iterations"], work["seed"]))
        task.add_done_callback(lambda done: asyncio.get_running_loop().call_later(UNCLAIMED, self._forget, key, done))
        return True

    def _forget(self, key: Key, done: asyncio.Task[Done]) -> None:
        """Let go of what nobody has fetched, which would count as load and fill the queue for ever."""
        if self._computing.get(key) is done:
            del self._computing[key]

    async def _cpu(self, job: str, iterations: int, seed: int) -> Done:
        async with self._slots:
            started = time.perf_counter()
            result, cpu_ms, success = await compute(iterations, seed, limit_s=self._limit)
            self._metrics.seconds.labels("Cpu").observe(time.perf_counter() - started)
        self._metrics.executions.labels("Cpu", "success" if success else "failure").inc()
        self._metrics.cpu.labels("Cpu").inc(cpu_ms / 1000)
        return self._signed(job, result, cpu_ms, success=success)


async def compute(iterations: int, seed: int, *, limit_s: float) -> tuple[str, int, bool]:
    """Result, milliseconds of processor time and success of a Cpu job in a process of its own, killed with its session."""
    process = await _started([str(number) for number in (iterations, seed, math.ceil(limit_s), os.getpid())])
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"the job took longer than its {limit_s:g} s", round(limit_s * 1000), False
    finally:
        await _ended(process)
    if process.returncode != 0:
        return f"the job's process ended with {process.returncode}", round(limit_s * 1000), False
    result, cpu_ms = output.decode().split()
    return result, int(cpu_ms), True


async def _started(arguments: Sequence[str]) -> asyncio.subprocess.Process:
    """The process of a job; one whose start is cancelled half-way is killed before anybody goes on."""
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    command = (sys.executable, "-I", "-S", _PROGRAM, *arguments)
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe, stderr=null, start_new_session=True, env=_ENVIRONMENT)
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _ended(await starting)
        raise


def _broken(task: asyncio.Task[Done]) -> bool:
    """Whether a task that has ended has no result: it was cancelled, or this machine could start no process."""
    return task.cancelled() or task.exception() is not None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Kill the session of *process* if it still runs, and wait until it is gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


def _keep(tx: Transaction, coordinator: str, done: Sequence[Done], now: int) -> list[Done]:
    """Write down what was done unless it is, with the reputation that it earns, and give back what is written."""
    statement = "INSERT INTO executions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    earned = 0
    for each in done:
        row = (coordinator, each.receipt.job, each.receipt.block(), each.result, now)
        earned += tx.execute(statement, row).rowcount * each.receipt.success
    ledger.earn(tx, done[0].receipt.executor, earned, now)
    tx.execute("DELETE FROM executions WHERE at < ?", (now - KEPT_MS,))
    jobs = [each.receipt.job for each in done]
    query = f"SELECT receipt, result FROM executions WHERE coordinator = ? AND job IN ({_marks(jobs)})"
    return [_done(receipt, result) for receipt, result in tx.execute(query, (coordinator, *jobs)).fetchall()]


def _done(receipt: bytes, result: str) -> Done:
    return Done(receipts.read_document(decode(receipt)), result)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
