"""Jobs in federations of real processes: to the anchored receipt, past nodes that hang or die, and over a restart."""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from waiting import await_that

from gates.node.cid import cid_of, decode
from gates.node.receipts import read_document

pytestmark = pytest.mark.end_to_end
FINAL = {"Completed", "Failed", "Cancelled"}


def cpu(iterations: int, seed: int) -> dict[str, Any]:
    return {"kind": {"Cpu": {"iterations": iterations, "seed": seed}}}


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Federation]:
    """Three nodes that have met."""
    with running_federation(tmp_path, 3) as federation:
        yield federation


def submitted(node: Node, count: int, *, prefix: str = "k", **more: Any) -> list[str]:
    """The ids of so many jobs that *node* has taken."""
    answers = [node.submit(f"{prefix}{number}", **more) for number in range(count)]
    assert {code for code, _ in answers} == {200}, answers
    return [answer["job_id"] for _, answer in answers]


def ended(node: Node, jobs: list[str]) -> list[dict[str, Any]]:
    """*jobs* once all of them have ended."""
    await_that(lambda: all(node.job(job)["status"] in FINAL for job in jobs), f"{len(jobs)} jobs of {node.name} end")
    return [node.job(job) for job in jobs]


def test_jobs_come_to_a_receipt_that_every_node_holds(three: Federation) -> None:
    """A job of each node is executed somewhere, paid once, and its signed receipt is a block at all three nodes."""
    for node in three:
        before = node.good("GET", "/account/me/mana")
        jobs = ended(node, submitted(node, 20, prefix=node.name))
        assert {job["status"] for job in jobs} == {"Completed"}
        after = node.good("GET", "/account/me/mana")
        assert after["burned"] - before["burned"] == sum(job["price_mana"] for job in jobs)
        assert after["reserved"] == 0
        for job in jobs:
            _check_receipt(three, job)


def _check_receipt(federation: Federation, job: dict[str, Any]) -> None:
    """The receipt of *job* is the same good block everywhere."""
    for node in federation:
        receipt = read_document(decode(_block(node, job["receipt_cid"])))
        assert receipt.genuine()
        assert (receipt.job, receipt.executor) == (job["job_id"], job["executor_did"])
        assert receipt.result_cid == job["result_cid"] == cid_of(job["result"].encode())


def _block(node: Node, cid: str) -> bytes:
    """The block *cid*, once *node* has it."""
    await_that(lambda: node.ask("POST", "/dag/get", {"cid": cid})[0] == 200, f"{node.name} holds {cid}")
    return base64.b64decode(node.good("POST", "/dag/get", {"cid": cid}))


def test_a_node_that_hangs_delays_no_job_of_the_others(three: Federation) -> None:
    """While one node is stopped, the jobs of the others end with the bids that come, and none is lost or paid twice."""
    hanging, node, _ = three
    assert hanging.process is not None
    ended(node, submitted(node, 10, prefix="before"))
    hanging.process.send_signal(signal.SIGSTOP)
    try:
        jobs = ended(node, submitted(node, 50, prefix="while"))
    finally:
        hanging.process.send_signal(signal.SIGCONT)
    assert {job["status"] for job in jobs} == {"Completed"}
    assert node.good("GET", "/account/me/mana")["reserved"] == 0


def test_jobs_of_an_executor_that_dies_are_carried_out_by_another(three: Federation) -> None:
    """Long jobs are under way at every node when one is killed."""
    dying, node, _ = three
    jobs = submitted(node, 9, cost=200, spec=cpu(800_000, 1))
    gone = dying.did
    await_that(lambda: gone in {node.job(job)["executor_did"] for job in jobs}, "the node that is to die has a job")
    dying.end(signal.SIGKILL)
    shown = ended(node, jobs)
    assert {job["status"] for job in shown} == {"Completed"}
    assert any(job["round"] == 2 for job in shown)
    assert node.good("GET", "/ledger/audit")["burned"] == sum(job["price_mana"] for job in shown)


def test_a_coordinator_that_is_killed_takes_its_jobs_up_again(three: Federation) -> None:
    """What was acknowledged before the kill ends after the restart, each job once."""
    node = next(iter(three))
    jobs = submitted(node, 6, prefix="long", cost=200, spec=cpu(600_000, 1)) + submitted(node, 30, prefix="short")
    node.end(signal.SIGKILL)
    node.start()
    await_that(node.ready, "the node is back")
    shown = ended(node, jobs)
    assert {job["status"] for job in shown} == {"Completed"}
    audit = node.good("GET", "/ledger/audit")
    assert (audit["burned"], audit["reserved"]) == (sum(job["price_mana"] for job in shown), 0)


def test_a_cancelled_job_ends_at_once_wherever_it_runs(three: Federation) -> None:
    """It is refunded, and stays cancelled when its executor would have had a receipt."""
    node = next(iter(three))
    jobs = submitted(node, 3, cost=200, spec=cpu(10_000_000, 1))
    await_that(lambda: {node.job(job)["status"] for job in jobs} == {"Executing"}, "all are executing")
    for job in jobs:
        assert node.good("POST", f"/mesh/jobs/{job}/cancel")["status"] == "Cancelled"
    assert node.good("POST", f"/mesh/jobs/{jobs[0]}/cancel")["status"] == "Cancelled", "asked again, it is the same answer"
    audit = node.good("GET", "/ledger/audit")
    assert (audit["burned"], audit["reserved"]) == (0, 0)
