"""Jobs from their submission to their end, over real ledgers."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mesh import MANA, Mesh, MeshNode, cpu, echo, node_of
from test_node_execution import children_of
from waiting import soon

from gates.node import jobbook, ledger, receipts
from gates.node.cid import decode, encode
from gates.node.clock import now_ms
from gates.node.errors import Refusal
from gates.node.execution import Order
from gates.node.identity import Identity

pytestmark = pytest.mark.end_to_end

WAY = ["Submitted", "BiddingOpen", "BiddingClosed", "Assigned", "Executing", "Completed"]


def way(job: dict[str, Any]) -> list[str]:
    return [status for status, _ in job["history"]]


async def three(stack: AsyncExitStack, mesh: Mesh, folder: Path) -> list[MeshNode]:
    """Three nodes with a window that a busy machine does not miss; a round ends as soon as all have answered."""
    return [await stack.enter_async_context(node_of(mesh, folder, seed, window=0.2)) for seed in (1, 2, 3)]


def test_jobs_go_their_whole_way_and_are_shared_out(tmp_path: Path) -> None:
    """Every job is completed by one of three nodes, its price burned and the rest given back, its receipt in the outbox."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            node, *_ = await three(stack, mesh, tmp_path)
            jobs = await asyncio.gather(*(node.submit(echo(f"p{number}"), f"k{number}") for number in range(60)))
            ended = [await node.until(job, "Completed") for job in jobs]
            assert [way(job) for job in ended] == [WAY] * 60
            assert [job["result"] for job in ended] == [f"p{number}" for number in range(60)]
            assert {job["executor_did"] for job in ended} == set(mesh.nodes)
            assert sorted(node.anchored()) == sorted(job["receipt_cid"] for job in ended)
            assert node.account() == (MANA - 60, 0)
            assert ledger.audit(node.store.read)["burned"] == 60

    asyncio.run(run())


def test_carrying_out_jobs_raises_the_executors_own_reputation(tmp_path: Path) -> None:
    """By one a job, in its own ledger alone, whoever the job was for; an order that is repeated earns nothing more."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            node, *others = await three(stack, Mesh(), tmp_path)
            jobs = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(30)))
            ended = [await node.until(job, "Completed") for job in jobs]
            for each in (node, *others):
                known = ledger.account(each.store.read, each.did)
                carried_out = [job["job_id"] for job in ended if job["executor_did"] == each.did]
                assert known is not None
                assert known.reputation == len(carried_out) > 0
                orders = [Order(job, echo()) for job in carried_out]
                await each.lifecycle.executions.carry_out("did:key:z6MkAnother", orders)
                await each.lifecycle.executions.carry_out("did:key:z6MkAnother", orders)
                again = ledger.account(each.store.read, each.did)
                assert again is not None
                assert again.reputation == 2 * len(carried_out)

    asyncio.run(run())


def test_a_batch_of_jobs_is_one_request_a_peer(tmp_path: Path) -> None:
    """Jobs that wait together are bid for together, and sent out together."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            node, *_ = await three(stack, mesh, tmp_path)
            await node.until(await node.submit(echo(), "first"), "Completed")
            mesh.calls.clear()
            jobs = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(100)))
            for job in jobs:
                await node.until(job, "Completed")
            assert len(mesh.calls) <= 16

    asyncio.run(run())


def test_a_peer_that_does_not_answer_delays_no_job(tmp_path: Path) -> None:
    """Bids that do not come in the window are not waited for, and the node carries the job out itself."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            node, *_ = await three(stack, mesh, tmp_path)
            mesh.hold["/peer/bids"] = asyncio.Event()
            job = await node.until(await node.submit(echo(), "k"), "Completed")
            assert job["executor_did"] == node.did
            asked = len(mesh.calls)
            await node.until(await node.submit(echo(), "l"), "Completed")
            assert len(mesh.calls) == asked, "a peer that has not answered is not asked again"
            mesh.hold["/peer/bids"].set()

    asyncio.run(run())


def test_a_job_whose_executor_is_lost_is_bid_for_again(tmp_path: Path) -> None:
    """The executor bids and then can't be reached: the job comes back, and another carries it out."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            node, second, third = await three(stack, mesh, tmp_path)
            mesh.tamper = lambda did, path, answer: mesh.unreachable.add(did) or answer if path == "/peer/bids" else answer
            jobs = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(10)))
            ended = [await node.until(job, "Completed") for job in jobs]
            assert {job["executor_did"] for job in ended} == {node.did}
            again = [job for job in ended if job["round"] == 2]
            assert again
            assert all(way(job) == [*WAY[:4], *WAY[1:]] for job in again)
            assert node.account() == (MANA - 10, 0)
            assert mesh.unreachable == {second.did, third.did}

    asyncio.run(run())


def test_a_node_that_bids_and_carries_nothing_out_makes_no_job_fail(tmp_path: Path) -> None:
    """It has the least load of all, so it wins; each job it loses goes to another, and for a while it gets no more."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            node, broken, _ = await three(stack, mesh, tmp_path)
            mesh.broken.add(broken.did)
            first = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(20)))
            ended = [await node.until(job, "Completed", "Failed") for job in first]
            assert {job["status"] for job in ended} == {"Completed"}
            assert {job["round"] for job in ended} == {1, 2}
            later = await asyncio.gather(*(node.submit(echo(), f"l{number}") for number in range(20)))
            assert {(await node.until(job, "Completed"))["round"] for job in later} == {1}

    asyncio.run(run())


def test_a_node_that_can_write_nothing_bids_on_nothing(tmp_path: Path) -> None:
    """Jobs of others would only come back from it."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            node, second, third = await three(stack, Mesh(), tmp_path)
            second.lifecycle.auction.able = lambda: False
            jobs = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(10)))
            executors = {(await node.until(job, "Completed"))["executor_did"] for job in jobs}
            assert executors == {node.did, third.did}

    asyncio.run(run())


def test_a_job_whose_executors_are_all_lost_fails_with_one_refund(tmp_path: Path) -> None:
    """After three rounds it is over, and everything is given back once."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:

            async def nothing(*_: Any) -> Any:
                raise Refusal(503, "no")

            node.lifecycle.executions.carry_out = nothing  # type: ignore[method-assign]
            job = await node.until(await node.submit(echo(), "k"), "Failed")
            assert (job["round"], way(job).count("BiddingOpen")) == (3, 3)
            assert node.account() == (MANA, 0)
            assert node.anchored() == []

    asyncio.run(run())


def test_a_job_that_nobody_may_carry_out_fails_with_a_refund(tmp_path: Path) -> None:
    """A price above the cost, or resources that nobody has: no bid is eligible, and none is taken."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            dear = await node.submit(cpu(1_000_000), "dear", cost=10)
            large = await node.submit(echo(required_resources={"memory_mb": 10**9}), "large")
            for job in (dear, large):
                shown = await node.until(job, "Failed")
                assert way(shown) == ["Submitted", "BiddingOpen", "Failed"]
                assert "no eligible bid" in shown["reason"]
            assert node.account() == (MANA, 0)

    asyncio.run(run())


def test_a_receipt_that_its_executor_did_not_sign_ends_no_job(tmp_path: Path) -> None:
    """A peer that answers with forged receipts is as good as lost."""

    def forge(_did: str, path: str, answer: bytes) -> bytes:
        document = decode(answer)
        if path == "/peer/execute":
            for each in document["done"]:
                each[0]["cpu_ms"] += 1
        return encode(document)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh(tamper=forge)
            node, *_ = await three(stack, mesh, tmp_path)
            jobs = await asyncio.gather(*(node.submit(echo(), f"k{number}") for number in range(10)))
            for job in jobs:
                shown = await node.until(job, "Completed", "Failed")
                assert shown["status"] == "Failed" or shown["executor_did"] == node.did
            refused = node.registry.get_sample_value("icn_lifecycle_receipts_total", {"outcome": "refused"})
            assert refused is not None
            assert refused > 0

    asyncio.run(run())


def test_a_cpu_job_is_executing_until_its_receipt_comes(tmp_path: Path) -> None:
    """It goes on in a process of its own, at whichever node, and ends with the time that it took."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            node, *_ = await three(stack, Mesh(), tmp_path)
            jobs = [await node.submit(cpu(20_000, seed), f"k{seed}") for seed in range(3)]
            for job in jobs:
                shown = await node.until(job, "Completed")
                assert way(shown) == WAY
                assert len(shown["result"]) == 64
                assert shown["cpu_ms"] > 0

    asyncio.run(run())


def test_a_cpu_job_over_its_limit_fails_with_a_refund_and_an_anchored_receipt(tmp_path: Path) -> None:
    """The executor signs that there is no result."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1, limit_s=0.2) as node:
            job = await node.until(await node.submit(cpu(10_000_000), "k", cost=200), "Failed")
            assert way(job) == [*WAY[:5], "Failed"]
            assert job["receipt_cid"] in node.anchored()
            assert node.account() == (MANA, 0)

    asyncio.run(run())


def test_a_cancelled_job_is_killed_where_it_runs_and_refunded_once(tmp_path: Path) -> None:
    """Cancelling ends the process at once, at home or at another node; its receipt would come too late."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            node, *_ = await three(stack, Mesh(), tmp_path)
            for number in range(3):
                job = await node.submit(cpu(10_000_000, number), f"k{number}", cost=200)
                await node.until(job, "Executing")
                await node.store.write(lambda tx, job=job: jobbook.cancel(tx, job, node.did, now_ms()))
                node.lifecycle.cancel(job)
                await soon(lambda: not children_of(os.getpid()), "the process of a cancelled job has ended")
                assert node.job(job)["status"] == "Cancelled"
            assert node.account() == (MANA, 0)
            experience = node.lifecycle.auction.experience
            assert {experience.reputation(did, now_ms()) for did in node.mesh.nodes} == {10}, "nobody is to blame"

    asyncio.run(run())


@pytest.mark.parametrize("executor", ["home", "away"])
def test_after_a_restart_unfinished_jobs_go_on(tmp_path: Path, executor: str) -> None:
    """Submitted ones are bid for, executing ones are asked for again, and none is paid twice."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh = Mesh()
            if executor == "away":
                await stack.enter_async_context(node_of(mesh, tmp_path, 2))
            async with node_of(mesh, tmp_path, 1) as node:
                jobs = [await node.submit(cpu(30_000, number), f"k{number}") for number in range(4)]
                await node.until(jobs[0], "Executing", "Completed")
                await node.lifecycle.stop()
                unheard = jobbook.job_id(node.did, "unheard")
                await _submit_only(node, "unheard")
            async with node_of(mesh, tmp_path, 1) as node:
                for job in [*jobs, unheard]:
                    await node.until(job, "Completed")
                assert node.account()[1] == 0
                audit = ledger.audit(node.store.read)
                assert audit["burned"] == 5

    asyncio.run(run())


async def _submit_only(node: MeshNode, key: str) -> None:
    from gates.node.submission import make_submission

    submission = make_submission("bafymanifest", echo(), 10, key)
    await node.store.write(lambda tx: jobbook.submit(tx, node.did, submission, now_ms()))


def test_receipts_from_outside_are_checked(tmp_path: Path) -> None:
    """404, 403, 422, 409, each for its reason; a good one ends the job, and the same one again changes nothing."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            job = await node.submit(cpu(10_000_000), "k", cost=200)
            await node.until(job, "Executing")
            stranger = Identity.from_seed(b"s" * 32)
            good = receipts.make(node.identity, job, "made", 5, success=True).shown()
            wrong = [
                (404, receipts.make(node.identity, "nojob", "made", 5, success=True).shown()),
                (403, receipts.make(stranger, job, "made", 5, success=True).shown()),
                (422, good | {"cpu_ms": 6}),
                (422, good | {"signature_hex": "00" * 64}),
                (422, good | {"signature_hex": "no"}),
                (422, good | {"result": "other"}),
                (422, good | {"cpu_ms": True}),
                (422, {}),
                (422, []),
            ]
            for code, receipt in wrong:
                with pytest.raises(Refusal) as refused:
                    await node.lifecycle.accept_receipt(receipt)
                assert refused.value.code == code, receipt
            assert node.job(job)["status"] == "Executing"
            cid = await node.lifecycle.accept_receipt(good | {"result": "made"})
            assert await node.lifecycle.accept_receipt(good) == cid
            ended = node.job(job)
            assert (ended["status"], ended["result"], ended["receipt_cid"]) == ("Completed", "made", cid)
            with pytest.raises(Refusal) as late:
                await node.lifecycle.accept_receipt(receipts.make(node.identity, job, "b", 5, success=True).shown())
            assert late.value.code == 409
            assert node.anchored() == [cid]
            assert node.account() == (MANA - 101, 0)

    asyncio.run(run())


def test_a_large_specification_is_carried_out_at_home(tmp_path: Path) -> None:
    """What does not fit into a request between nodes is not sent to another."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            node, *_ = await three(stack, Mesh(), tmp_path)
            job = await node.until(await node.submit(echo("ä" * 200_000), "k", cost=100), "Completed")
            assert job["executor_did"] == node.did

    asyncio.run(run())
