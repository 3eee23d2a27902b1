"""Governance between real nodes over HTTP: from submission to an effect that can be felt, through crashes and lost data."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from waiting import await_that

from gates.node.identity import Identity

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Three nodes, for tests that leave them as they found them."""
    with running_federation(tmp_path_factory.mktemp("governance"), 3) as running:
        yield running


def propose(node: Node, kind: str, seconds: int = 60, **data: Any) -> str:
    body = {"proposal": {"type": kind, "data": data}, "description": secrets.token_hex(4), "duration_secs": seconds}
    made: list[str] = []

    def submitted() -> bool:
        code, answer, headers = node.send("POST", "/governance/submit", body)
        assert code == 200 or (code == 503 and headers["Retry-After"] == "1"), (code, answer)
        made.extend([answer] if code == 200 else [])
        return bool(made)

    await_that(submitted, "the founding nodes have met")
    return made[0]


def vote(node: Node, proposal: str, option: str = "Yes", **more: Any) -> Any:
    return node.ask("POST", "/governance/vote", {"proposal_id": proposal, "vote_option": option}, **more)


def accepted(node: Node, proposal: str, option: str = "Yes") -> bool:
    """Whether the vote was taken; a node that can't ask for a proposal that it lacks says that it is not sure."""
    code, answer = vote(node, proposal, option)
    assert code in (200, 503), answer
    return bool(code == 200)


def execute(home: Node, voters: Sequence[Node], kind: str, **data: Any) -> str:
    """A proposal that all members accept at once, and that is executed."""
    proposal = propose(home, kind, **data)
    for node in voters:
        await_that(partial(accepted, node, proposal), f"{node.name} can ask the proposal's home")
    closed = home.good("POST", "/governance/close", {"proposal_id": proposal})
    assert closed["status"] == "Accepted", closed
    assert home.good("POST", "/governance/execute", {"proposal_id": proposal})["executed"] is True
    return proposal


def status(node: Node, proposal: str) -> str:
    code, answer = node.ask("GET", f"/governance/proposal/{proposal}")
    return str(answer["status"]) if code == 200 else ""


def balance(node: Node, whose: Identity) -> int:
    code, answer = node.ask("GET", f"/account/{whose.did}/mana", signer=whose)
    return int(answer["balance"]) if code == 200 else -1


def stranger() -> Identity:
    return Identity.from_seed(secrets.token_bytes(32))


def test_a_proposal_is_the_same_everywhere_after_its_execution(federation: Federation) -> None:
    """Submitted at one node, voted on at three, closed and executed: every node shows the same votes, tally and end."""
    a, b, c = federation
    proposal = propose(a, "GenericText", text="together")
    for node, option in ((a, "Yes"), (b, "Abstain"), (c, "Yes")):
        await_that(partial(accepted, node, proposal, option), f"{node.name} can ask the proposal's home")
    assert b.ask("POST", "/governance/close", {"proposal_id": proposal})[1]["home"] == "node-a"
    closed = a.good("POST", "/governance/close", {"proposal_id": proposal})
    assert (closed["status"], closed["yes"], closed["no"], closed["abstain"]) == ("Accepted", 2, 0, 1)
    assert a.good("POST", "/governance/execute", {"proposal_id": proposal})["executed"] is True
    for node in federation:
        await_that(lambda node=node: status(node, proposal) == "Executed", f"{node.name} knows the execution")
    shown = [node.good("GET", f"/governance/proposal/{proposal}") for node in federation]
    same = [{name: value for name, value in each.items() if name != "number"} for each in shown]
    assert same[0] == same[1] == same[2]
    assert same[0]["tally"] == {"yes": 2, "no": 0, "abstain": 1}
    assert {each["voter"]: each["option"] for each in same[0]["votes"]} == {a.did: "Yes", b.did: "Abstain", c.did: "Yes"}
    listed = a.good("GET", "/governance/proposals?order=newest&status=Executed&home=me&limit=1")
    assert [each["proposal_id"] for each in listed] == [proposal]


def test_a_wrong_request_is_told_what_is_wrong(federation: Federation) -> None:
    """400 for what is no JSON or no CID, 403 for others' names, 404, 409 and 422 by field; nothing is made of any."""
    a = federation["node-a"]
    good = {"proposal": {"type": "GenericText"}, "description": "words", "duration_secs": 60}
    before = len(a.good("GET", "/governance/proposals?limit=1000"))
    for change, code, told in (
        ({"duration_secs": 0}, 422, "duration_secs"),
        ({"duration_secs": 1.5}, 422, "duration_secs"),
        ({"quorum": -1}, 422, "quorum"),
        ({"threshold": 1.01}, 422, "threshold"),
        ({"threshold": 0}, 422, "threshold"),
        ({"description": ""}, 422, "description"),
        ({"proposal": {"type": "ParameterChange"}}, 422, "proposal.type"),
        ({"proposal": {"type": "SystemParameterChange", "data": {"name": "speed", "value": 1}}}, 422, "name"),
        ({"proposal": {"type": "SystemParameterChange", "data": {"name": "capacity", "value": "1"}}}, 422, "value"),
        ({"proposal": {"type": "BudgetAllocation", "data": {"did": "did:key:alice", "amount": 1}}}, 422, "did"),
        ({"proposal": {"type": "BudgetAllocation", "data": {"did": a.did, "amount": -1}}}, 422, "amount"),
        ({"body": "no base64!"}, 422, "body"),
        ({"proposer_did": stranger().did}, 403, "proposer_did"),
        ({"votes": 1}, 422, "votes"),
    ):
        answered, answer = a.ask("POST", "/governance/submit", {**good, **change})
        assert (answered, told in answer["error"]) == (code, True), (change, answered, answer)
    assert a.ask("POST", "/governance/submit", b"{")[0] == 400
    assert a.ask("GET", "/governance/proposal/prop-1")[0] == 400
    assert vote(a, "prop-1")[0] == 400
    assert a.ask("POST", "/governance/vote", {"proposal_id": a.did, "vote_option": "Perhaps"})[0] == 422
    assert a.ask("GET", "/governance/proposals?status=Open")[0] == 400
    assert a.ask("POST", "/governance/delegate", {"from_did": a.did, "to_did": a.did})[0] == 404
    assert len(a.good("GET", "/governance/proposals?limit=1000")) == before


def test_a_user_becomes_a_member_and_votes_at_home(federation: Federation) -> None:
    """Admitted by proposal, a client with a key of its own votes on later proposals, signed, once."""
    user, nodes = stranger(), list(federation)
    home = federation.home(user)
    home.good("POST", "/account/open", {}, signer=user)
    early = propose(nodes[0], "GenericText")
    assert vote(home, early, signer=user)[0] == 403
    admission = execute(nodes[0], nodes, "MemberAdmission", did=user.did)
    for node in nodes[1:]:  # what they know, node-a has anchored
        await_that(lambda node=node: status(node, admission) == "Executed", f"{node.name} knows the new member")
    later = propose(nodes[0], "GenericText")
    elsewhere = next(node for node in nodes if node is not home)
    assert vote(elsewhere, later, signer=user)[0] == 421
    assert vote(home, later, "No", signer=user)[0] == 200
    assert vote(home, later, "No", signer=user)[0] == 200
    assert vote(home, later, "Yes", signer=user)[0] == 409
    execute_removal = propose(nodes[0], "RemoveMember", did=user.did)
    for node in nodes:
        assert vote(node, execute_removal)[0] == 200
    assert nodes[0].ask("POST", "/governance/close", {"proposal_id": execute_removal})[0] == 409, "one has not voted"
    assert vote(home, execute_removal, signer=user)[0] == 200
    assert nodes[0].good("POST", "/governance/close", {"proposal_id": execute_removal})["yes"] == 4
    nodes[0].good("POST", "/governance/execute", {"proposal_id": execute_removal})
    await_that(lambda: status(home, execute_removal) == "Executed", "the removal is known")


def test_a_changed_rate_is_the_rate(tmp_path: Path) -> None:
    """client_rate by proposal: every node then answers 429 with Retry-After to who asks more often, and after a restart."""
    with running_federation(tmp_path, 3) as federation:
        nodes = list(federation)
        execute(nodes[0], nodes, "SystemParameterChange", name="client_rate", value=2)
        for node in nodes:
            await_that(lambda node=node: _limited(node), f"{node.name} limits a client to 2 requests a second")
        nodes[1].end(signal.SIGKILL)
        nodes[1].start()
        await_that(nodes[1].ready, "the node is back")
        await_that(lambda: _limited(nodes[1]), "the rate is what the proposal said, after a restart")


def test_a_budget_is_paid_once_whatever_happens(tmp_path: Path) -> None:
    """Minted at the payee's home, once: through a crash of that home, and when it lost its blocks and synced them again."""
    user = stranger()
    with running_federation(tmp_path, 3) as federation:
        nodes, home = list(federation), federation.home(user)
        home.good("POST", "/account/open", {}, signer=user)
        before = balance(home, user)
        proposal = execute(nodes[0], nodes, "BudgetAllocation", did=user.did, amount=777, purpose="tools")
        await_that(lambda: balance(home, user) == before + 777, "the budget is paid")
        for loses_blocks in (False, True):
            home.end(signal.SIGKILL)
            if loses_blocks:
                for file in home.data.glob("dag.db*"):
                    file.unlink()
            home.start()
            await_that(home.ready, "the home is back")
            await_that(lambda: status(home, proposal) == "Executed", "it has the blocks")
            marker = execute(nodes[0], nodes, "SystemParameterChange", name="bidding_window_ms", value=40 + loses_blocks)
            await_that(lambda marker=marker: status(home, marker) == "Executed", "it carried out what came after")
            assert balance(home, user) == before + 777
            audit = home.good("GET", "/ledger/audit")
            assert audit["minted"] + audit["regenerated"] - audit["burned"] == audit["balances"] + audit["reserved"]
        others = [node for node in nodes if node is not home]
        assert [balance(node, user) for node in others] == [-1, -1]
    shutil.rmtree(tmp_path)


def test_a_cut_off_member_neither_stops_nor_changes_a_close(tmp_path: Path) -> None:
    """A node that is paused at the deadline is not waited for; afterwards it shows the same tally as the others."""
    with running_federation(tmp_path, 3) as federation:
        a, b, c = federation
        proposal = propose(a, "GenericText", seconds=2)
        assert [vote(node, proposal)[0] for node in (a, b)] == [200, 200]
        await_that(lambda: status(c, proposal) == "VotingOpen", "node-c knows the proposal")
        assert c.process is not None
        c.process.send_signal(signal.SIGSTOP)
        closed: dict[str, Any] = {}

        def ended() -> bool:
            code, answer = a.ask("POST", "/governance/close", {"proposal_id": proposal})
            closed.update(answer)
            return code == 200

        await_that(ended, "the voting ends")
        c.process.send_signal(signal.SIGCONT)
        assert (closed["status"], closed["yes"]) == ("Accepted", 2)
        await_that(lambda: status(c, proposal) == "Accepted", "node-c learns of the close")
        assert vote(c, proposal)[0] == 409
        assert c.good("GET", f"/governance/proposal/{proposal}")["tally"] == {"yes": 2, "no": 0, "abstain": 0}


def _limited(node: Node) -> bool:
    """Whether a few requests at once are too many."""
    for _ in range(200):
        code, _, headers = node.send("GET", "/governance/proposals?limit=1")
        if code == 429:
            return int(headers["Retry-After"]) >= 1
    return False
