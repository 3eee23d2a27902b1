"""Federations of three and of five processes carry jobs to anchored receipts and a proposal to its effect, over HTTP alone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from waiting import await_that

from gates.node.cid import DAG_CBOR, cid_of, decode
from gates.node.receipts import read_document

pytestmark = pytest.mark.end_to_end
JOBS = 5
STEPS = ["Submitted", "BiddingOpen", "BiddingClosed", "Assigned", "Executing", "Completed"]
CAPACITY = 20_000


@pytest.fixture(params=[3, 5])
def federation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Federation]:
    """Nodes that know each other."""
    with running_federation(tmp_path, request.param) as running:
        for node in running:
            await_that(lambda node=node: len(alive(node)) == request.param - 1, f"{node.name} has met all others")
        yield running


def alive(node: Node) -> list[Any]:
    return [each for each in node.good("GET", "/federation/status")["members"] if each["state"] == "alive"]


def test_jobs_of_every_node_come_to_receipts_that_all_nodes_hold(federation: Federation) -> None:
    """Each goes all steps in their order and is paid; its signed receipt is the same block everywhere, under equal roots."""
    receipts = [_receipted(node, job) for node in federation for job in _submitted(node)]
    for cid, job in receipts:
        for node in federation:
            await_that(lambda node=node, cid=cid: node.ask("POST", "/dag/get", {"cid": cid})[0] == 200, f"{node.name} holds it")
            block = base64.b64decode(node.good("POST", "/dag/get", {"cid": cid}))
            receipt = read_document(decode(block))
            assert receipt.genuine()
            assert (receipt.job, receipt.executor, cid_of(block, DAG_CBOR)) == (job["job_id"], job["executor_did"], cid)
    await_that(lambda: len({root(node) for node in federation}) == 1, "all nodes have the same root")
    for node in federation:
        sums = node.good("GET", "/ledger/audit")
        assert (sums["balanced"], sums["reserved"], sums["outbox"]) == (True, 0, 0)


def _submitted(node: Node) -> list[str]:
    answers = [node.submit(f"{node.name}-{number}") for number in range(JOBS)]
    assert {code for code, _ in answers} == {200}, answers
    return [answer["job_id"] for _, answer in answers]


def _receipted(node: Node, job: str) -> tuple[str, dict[str, Any]]:
    """The CID of the receipt of *job*, and the job itself, once it has ended."""
    await_that(lambda: node.job(job)["status"] == "Completed", f"{job} of {node.name} is completed")
    found = node.job(job)
    assert [step for step, _ in found["history"]] == STEPS
    return found["receipt_cid"], found


def root(node: Node) -> str:
    found: str = node.good("GET", "/dag/root")["root"]
    return found


def test_a_proposal_goes_from_submission_to_its_effect_on_every_node(federation: Federation) -> None:
    """More than half of all members carry it; what it changes is changed everywhere, and every tally is the same."""
    home, *_ = federation
    proposal = home.good("POST", "/governance/submit", motion(len(list(federation))))
    options = {node.name: "No" if number == 0 else "Yes" for number, node in enumerate(federation)}
    for node in federation:
        await_that(partial(votes, node, proposal, options[node.name]), f"{node.name} votes")
    closed = home.good("POST", "/governance/close", {"proposal_id": proposal})
    assert (closed["status"], closed["yes"], closed["no"]) == ("Accepted", len(options) - 1, 1)
    assert home.good("POST", "/governance/execute", {"proposal_id": proposal})["executed"] is True
    for node in federation:
        await_that(lambda node=node: node.good("GET", "/account/me/mana")["capacity"] == CAPACITY, f"{node.name} is changed")
        shown = node.good("GET", f"/governance/proposal/{proposal}")
        assert (shown["status"], shown["tally"]) == ("Executed", {"yes": len(options) - 1, "no": 1, "abstain": 0})


def motion(quorum: int) -> dict[str, Any]:
    asked = {"type": "SystemParameterChange", "data": {"name": "capacity", "value": CAPACITY}}
    return {"proposal": asked, "description": "more room", "duration_secs": 60, "quorum": quorum, "threshold": 0.5}


def votes(node: Node, proposal: str, option: str) -> bool:
    """Whether the vote was taken; a node that the proposal has not reached yet says so."""
    code, answer = node.ask("POST", "/governance/vote", {"proposal_id": proposal, "vote_option": option})
    assert code in (200, 503), answer
    return bool(code == 200)
