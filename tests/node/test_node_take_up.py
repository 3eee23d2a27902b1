"""Jobs that were left: offered again or found by the sweep they go on, without those that are under way being disturbed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mesh import MANA, Mesh, MeshNode, cpu, echo, node_of

from gates.node import assignment, jobbook, ledger
from gates.node.clock import now_ms
from gates.node.submission import make_submission


def test_a_job_that_was_written_down_and_never_offered_is_carried_out(tmp_path: Path) -> None:
    """Once it is offered, and offering it again after its end changes nothing."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1) as node:
            submission = make_submission("bafymanifest", echo(), 10, "k")
            job = (await node.store.write(lambda tx: jobbook.submit(tx, node.did, submission, now_ms()))).job
            node.lifecycle.offer(job)
            ended = await node.until(job, "Completed")
            node.lifecycle.offer(job)
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
            node.lifecycle.offer(job)
            await node.until(await node.submit(echo(), "another"), "Completed")
            shown = await node.until(job, "Completed", "Failed", "Cancelled", "BiddingOpen")
            assert (shown["status"], shown["round"]) == ("Completed", 1)

    asyncio.run(run())


SOON = 0.005
POISON = "poison"


async def poisoned_and_sound(node: MeshNode) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How the job that is submitted under the key POISON ended, and the nine that were submitted beside it."""
    keys = [f"k{number}" for number in range(5)] + [POISON] + [f"l{number}" for number in range(4)]
    jobs = [await node.submit(echo(), key) for key in keys]
    ended = [await node.until(job, "Completed", "Failed") for job in jobs]
    return ended[5], ended[:5] + ended[6:]


def test_a_job_that_was_written_down_and_never_heard_of_again_is_found(tmp_path: Path) -> None:
    """As when its commit was undecided and its client gone: the sweep offers it."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1, sweep=SOON) as node:
            submission = make_submission("bafymanifest", echo(), 10, "k")
            job = (await node.store.write(lambda tx: jobbook.submit(tx, node.did, submission, now_ms()))).job
            await node.until(job, "Completed")

    asyncio.run(run())


def spoil(change: Callable[..., Any], poisoned: str) -> Callable[..., Any]:
    """*change*, which the database refuses as soon as one of its jobs is *poisoned*."""

    def spoilt(tx: Any, jobs: Any, *more: Any) -> Any:
        ids = {getattr(getattr(job, "receipt", None), "job", job) for job in jobs}
        if poisoned in ids:
            raise sqlite3.IntegrityError("CHECK constraint failed")
        return change(tx, jobs, *more)

    return spoilt


@pytest.mark.parametrize("step", ["open_bidding", "assign", "finish"])
def test_one_job_that_nothing_can_be_written_for_takes_no_other_with_it(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nine beside it are completed, each paid once; it fails after some attempts, and its mana comes back."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1, sweep=SOON) as node:
            monkeypatch.setattr(assignment, step, spoil(getattr(assignment, step), jobbook.job_id(node.did, POISON)))
            poisoned, sound = await poisoned_and_sound(node)
            assert (poisoned["status"], poisoned["reason"]) == ("Failed", "this node failed to carry it on 3 times")
            assert {job["status"] for job in sound} == {"Completed"}
            assert node.account() == (MANA - 9, 0)

    asyncio.run(run())


def test_a_job_that_is_computed_elsewhere_and_spoilt_is_left_by_who_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are followed with it come to their ends all the same."""

    async def run() -> None:
        async with node_of(Mesh(), tmp_path, 1, sweep=SOON) as node:
            monkeypatch.setattr(assignment, "finish", spoil(assignment.finish, jobbook.job_id(node.did, POISON)))
            jobs = [await node.submit(cpu(2_000), key) for key in ("k", POISON, "l")]
            ended = [(await node.until(job, "Completed", "Failed"))["status"] for job in jobs]
            assert ended == ["Completed", "Failed", "Completed"]
            assert ledger.audit(node.store.read)["reserved"] == 0

    asyncio.run(run())
