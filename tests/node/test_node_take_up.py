"""A job that is submitted again under its key: taken up when it was left, and left alone when it is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mesh import Mesh, cpu, echo, node_of

from gates.node import jobbook, ledger
from gates.node.clock import now_ms
from gates.node.submission import make_submission


def test_a_job_that_was_written_down_and_never_offered_is_carried_out(tmp_path: Path) -> None:
    """Once it is taken up, and taking it up again after its end changes nothing."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            submission = make_submission("bafymanifest", echo(), 10, "k")
            job = (await node.store.write(lambda tx: jobbook.submit(tx, node.did, submission, now_ms()))).job
            node.lifecycle.take_up(job)
            ended = await node.until(job, "Completed")
            node.lifecycle.take_up(job)
            await node.until(await node.submit(echo(), "another"), "Completed")
            assert node.job(job) == ended
            assert ledger.audit(node.store.read)["reserved"] == 0

    asyncio.run(run())


def test_a_job_that_is_under_way_is_not_disturbed(tmp_path: Path) -> None:
    """Not even when rounds of bidding pass meanwhile."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            job = await node.submit(cpu(200_000), "k")
            await node.until(job, "Executing")
            node.lifecycle.take_up(job)
            await node.until(await node.submit(echo(), "another"), "Completed")
            shown = await node.until(job, "Completed", "Failed", "Cancelled", "BiddingOpen")
            assert (shown["status"], shown["round"]) == ("Completed", 1)

    asyncio.run(run())
