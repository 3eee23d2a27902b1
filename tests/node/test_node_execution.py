"""How jobs are carried out, and what their processes may do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from mesh import Mesh, cpu, echo, node_of
from waiting import Bound, soon

from gates.node import cpu_job, execution
from gates.node.cid import decode
from gates.node.errors import Refusal
from gates.node.execution import Order, compute, read_order
from gates.node.receipts import read, read_document

COORDINATOR = "did:key:z6MkCoordinator"
LONG = 2_000_000_000


def children_of(pid: int) -> list[int]:
    """The processes that *pid* has started and that have not ended, but for a tracker that other tests left."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split() if not _is_tracker(int(child))]


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


async def child_of(pid: int) -> int:
    """The process of a job, once it has confined itself."""
    await soon(lambda: any(map(_confined, children_of(pid))), "the process of a job has confined itself")
    return next(child for child in children_of(pid) if _confined(child))


def _confined(pid: int) -> bool:
    try:
        return f"Max open files            {cpu_job.FILES} " in Path(f"/proc/{pid}/limits").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_echo_comes_back_with_a_genuine_receipt(tmp_path: Path) -> None:
    """The receipt names job, executor and the CID of the payload, and survives its two written forms."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            answer = await node.lifecycle.executions.carry_out(COORDINATOR, [Order("job", echo("grüße"))])
            (done,) = answer.done
            assert (done.result, done.receipt.job, done.receipt.executor) == ("grüße", "job", node.did)
            assert done.receipt.genuine()
            assert done.receipt.of("grüße")
            assert read(done.receipt.shown()) == done.receipt
            assert read_document(decode(done.receipt.block())) == done.receipt

    asyncio.run(run())


def test_asking_again_gives_the_receipt_that_was_signed_first(tmp_path: Path) -> None:
    """Also after a restart, and for jobs in a process: nothing is carried out twice for the same coordinator."""
    orders = [Order("one", echo()), Order("two", cpu(10))]

    async def ask() -> set[bytes]:
        async with node_of(Mesh(), tmp_path, 1) as node:
            executions, done = node.lifecycle.executions, {}
            in_time = Bound("both jobs are carried out")
            while in_time() and len(done) < 2:
                answer = await executions.carry_out(COORDINATOR, orders, wait=5)
                done |= {each.receipt.job: each.receipt.signature for each in answer.done}
            return set(done.values())

    assert asyncio.run(ask()) == asyncio.run(ask())


def test_a_cpu_job_gives_the_iterated_digest_and_the_time_it_took() -> None:
    """sha256 applied as often as asked to the seed's text."""
    expected = hashlib.sha256(hashlib.sha256(b"7").digest()).hexdigest()
    result, cpu_ms, success = asyncio.run(compute(2, 7, limit_s=5))
    assert (result, success) == (expected, True)
    assert 0 <= cpu_ms < 5000


def test_a_cpu_job_that_takes_too_long_is_killed_and_that_is_no_success() -> None:
    """The wall-clock limit ends the process, whatever it does."""

    async def run() -> None:
        running = asyncio.create_task(compute(LONG, 7, limit_s=0.3))
        child = await child_of(os.getpid())
        result, _, success = await running
        assert not success
        assert "0.3 s" in result
        assert child not in children_of(os.getpid())

    asyncio.run(run())


def test_the_process_of_a_cpu_job_is_confined() -> None:
    """Processor time, memory, files: all limited by the kernel, in a session of its own."""

    async def run() -> None:
        running = asyncio.create_task(compute(LONG, 7, limit_s=5))
        child = await child_of(os.getpid())
        limits = Path(f"/proc/{child}/limits").read_text()
        assert f"Max address space         {cpu_job.MEMORY} " in limits
        # the last one that it sets
        await soon(lambda: "Max cpu time              5 " in Path(f"/proc/{child}/limits").read_text(), "its time is limited")
        assert os.getsid(child) == child
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert child not in children_of(os.getpid())

    asyncio.run(run())


def test_processor_time_is_limited_by_the_kernel() -> None:
    """A job that used up its seconds is ended even when nobody watches it."""
    arguments = [sys.executable, "-I", "-S", cpu_job.__file__, str(LONG), "7", "0", str(os.getpid())]
    ended = subprocess.run(arguments, capture_output=True, timeout=20, check=False)
    assert ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    assert ended.stdout == b""


def test_the_process_of_a_job_ends_with_its_node() -> None:
    """A node that is killed leaves no process behind, though it had no time to clean up."""
    program = f"import asyncio; from gates.node.execution import compute; asyncio.run(compute({LONG}, 7, limit_s=60))"
    with subprocess.Popen([sys.executable, "-c", program]) as node:
        child = asyncio.run(child_of(node.pid))
        watched = os.pidfd_open(child)
        node.kill()
        node.wait()
        try:
            assert os.waitid(os.P_PIDFD, watched, os.WEXITED) is None
        except ChildProcessError:  # not ours to reap: what ends makes its descriptor readable
            import select

            assert select.select([watched], [], [], 10)[0]
        finally:
            os.close(watched)


def test_echo_jobs_do_not_wait_for_cpu_jobs(tmp_path: Path) -> None:
    """With all places taken and more waiting, an Echo is answered at once, and the Cpu jobs are under way."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            executions = node.lifecycle.executions
            long = [Order(f"long-{number}", cpu(LONG)) for number in range(5)]
            answer = await executions.carry_out(COORDINATOR, [*long, Order("short", echo())])
            assert [done.receipt.job for done in answer.done] == ["short"]
            assert sorted(answer.pending) == [order.job for order in long]
            await child_of(os.getpid())
            again = await executions.carry_out(COORDINATOR, long)
            assert sorted(again.pending) == [order.job for order in long]
            assert len(children_of(os.getpid())) <= max(1, (os.cpu_count() or 1) - 1)
            executions.cancel(COORDINATOR, [order.job for order in long])
        assert children_of(os.getpid()) == []

    asyncio.run(run())


def test_a_result_that_nobody_fetches_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that has given this node up leaves no load behind; one that comes back later gets it computed again."""
    monkeypatch.setattr(execution, "UNCLAIMED", 0.0)

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            executions = node.lifecycle.executions
            order = Order("job", cpu(10))
            assert (await executions.carry_out(COORDINATOR, [order])).pending == ["job"]
            computing = partial(node.registry.get_sample_value, "icn_execution_computing_jobs")
            await soon(lambda: executions.load <= 1 and not computing(), "the result is forgotten")
            assert (await executions.carry_out(COORDINATOR, [order])).pending == ["job"]

    asyncio.run(run())


def test_the_jobs_of_one_coordinator_are_not_those_of_another(tmp_path: Path) -> None:
    """Who coordinates nothing can cancel nothing."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            executions = node.lifecycle.executions
            await executions.carry_out(COORDINATOR, [Order("job", cpu(LONG))])
            executions.cancel("did:key:z6MkOther", ["job"])
            assert (await executions.carry_out(COORDINATOR, [Order("job", cpu(LONG))])).pending == ["job"]

    asyncio.run(run())


@pytest.mark.parametrize("value", [[], ["job"], ["job", {}], ["job", {"kind": {"Wasm": {}}}], [3, echo()], ["job", cpu(-1)]])
def test_orders_of_another_shape_are_refused(value: object) -> None:
    """A peer's specification is checked like that of a client."""
    with pytest.raises(Refusal) as refused:
        read_order(value)
    assert refused.value.code == 422
