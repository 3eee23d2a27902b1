"""A federation that is cut in two, with clients on both sides: what each side refuses, and what all hold at the end."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from links import Links
from waiting import await_that

from gates.node.identity import Identity

pytestmark = pytest.mark.end_to_end
FINAL = {"Completed", "Failed", "Cancelled"}
Cut = tuple[Federation, Links]


@pytest.fixture(scope="module")
def cuttable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    """Three nodes that reach each other over links of the test, and know each other."""
    with closing(Links()) as links, running_federation(tmp_path_factory.mktemp("cut"), 3, route=links.route) as federation:
        await_that(lambda: all(len(alive(node)) == 2 for node in federation), "every node has met every other")
        yield federation, links


def alive(node: Node) -> list[str]:
    found: list[str] = node.good("GET", "/network/peers")
    return found


def root(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.good("GET", "/dag/root")
    return found


def put(node: Node) -> str:
    cid: str = node.good("POST", "/dag/put", {"data": base64.b64encode(secrets.token_bytes(50)).decode()})
    return cid


def has(node: Node, cid: str) -> bool:
    return node.ask("POST", "/dag/get", {"cid": cid})[0] == 200


def at_home_on(federation: Federation, name: str) -> Identity:
    """A new user whose account is at home on the node *name*, with an account there."""
    while True:
        user = Identity.from_seed(secrets.token_bytes(32))
        if federation.home(user).name == name:
            assert federation[name].ask("POST", "/account/open", {}, signer=user)[0] == 200
            return user


def ended(node: Node, jobs: list[str]) -> bool:
    return all(node.job(job)["status"] in FINAL for job in jobs)


def test_two_sides_of_a_partition_spend_nothing_twice_and_become_equal(cuttable: Cut) -> None:
    """One user's 1,000 mana are asked for on both sides: the home takes jobs for them, the others none.

    Both sides go on with what is theirs; when the network is back, all blocks of both are on every node, under one root.
    """
    federation, links = cuttable
    a, b, c = federation
    user = at_home_on(federation, "node-c")
    with links.cut_off("node-c"):
        await_that(lambda: alive(c) == [] and len(alive(a)) == len(alive(b)) == 1, "the two sides see each other no more")
        taken = [c.submit(f"mine-{number}", signer=user, cost=100) for number in range(12)]
        assert taken[0][0] == 200
        for node in (a, b):
            for number in range(3):
                code, answer = node.submit(f"mine-{number}", signer=user, cost=100)
                assert (code, answer["home"]) == (421, "node-c")
            code, answer = node.ask("GET", f"/account/{user.did}/mana", signer=user)
            assert (code, answer["home"]) == (421, "node-c")
        own = {node.name: [node.submit(f"own-{number}")[1]["job_id"] for number in range(5)] for node in federation}
        blocks = [put(node) for node in federation]
        jobs = [answer["job_id"] for code, answer in taken if code == 200]
        await_that(lambda: ended(c, [*jobs, *own["node-c"]]), "the node by itself carries jobs out")
        await_that(lambda: ended(a, own["node-a"]) and ended(b, own["node-b"]), "the others do as well")
        assert not has(a, blocks[2])
        assert not has(c, blocks[0])
        assert root(c)["root"] != root(a)["root"]
    await_that(lambda: len({root(node)["root"] for node in federation}) == 1, "all nodes have the same root")
    receipts = [c.job(job)["receipt_cid"] for job in jobs]
    assert all(has(node, cid) for node in federation for cid in (*blocks, *receipts))
    spent = sum(c.job(job)["price_mana"] for job in jobs)
    account = c.good("GET", f"/account/{user.did}/mana", signer=user)
    assert (account["burned"], account["reserved"], account["minted"]) == (spent, 0, 1000)
    assert all(node.good("GET", "/ledger/audit")["balanced"] for node in federation)


def test_two_sides_of_a_partition_take_one_vote_and_show_one_tally(cuttable: Cut) -> None:
    """Votes are cast on both sides, and a member tries both; the close counts what its home has, and so does every node."""
    federation, links = cuttable
    a, b, c = federation
    body = {"proposal": {"type": "GenericText"}, "description": secrets.token_hex(4), "duration_secs": 60}
    proposal = a.good("POST", "/governance/submit", body)
    vote = {"proposal_id": proposal, "vote_option": "Yes"}
    await_that(lambda: c.ask("GET", f"/governance/proposal/{proposal}")[0] == 200, "the proposal is everywhere")
    user = at_home_on(federation, "node-c")
    with links.cut_off("node-c"):
        await_that(lambda: alive(c) == [] and len(alive(a)) == 1, "the two sides see each other no more")
        assert c.ask("POST", "/governance/vote", vote)[0] == 200
        assert c.ask("POST", "/governance/vote", {**vote, "vote_option": "No"})[0] == 409
        assert a.ask("POST", "/governance/vote", vote, signer=user)[0] == 421
        assert [node.ask("POST", "/governance/vote", vote)[0] for node in (a, b)] == [200, 200]
        code, answer = a.ask("POST", "/governance/close", {"proposal_id": proposal})
        assert (code, "1 of 3 members" in answer["error"]) == (409, True), "the vote across the cut is not known here"
        assert c.ask("POST", "/governance/close", {"proposal_id": proposal})[0] == 421

    def closed() -> bool:
        return a.ask("POST", "/governance/close", {"proposal_id": proposal})[0] == 200

    await_that(closed, "the vote across the cut has come")
    for node in federation:
        await_that(lambda node=node: shown(node, proposal)["status"] == "Accepted", "the close is everywhere")  # type: ignore[misc]
    assert [shown(node, proposal)["tally"] for node in federation] == [{"yes": 3, "no": 0, "abstain": 0}] * 3
    assert len({str(shown(node, proposal)["votes"]) for node in federation}) == 1


def shown(node: Node, proposal: str) -> dict[str, Any]:
    found: dict[str, Any] = node.good("GET", f"/governance/proposal/{proposal}")
    return found
