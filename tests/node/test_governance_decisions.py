"""What a node decides: proposals, votes, closes and executions, each once, at the right home, for the right fee."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from governed import GRANT, MANA, START, Governed, governed, identity, text

from gates.node.errors import Refusal, StoreUnavailable
from gates.node.motion import Motion

USER = identity("somebody").did
ADMIT = Motion("MemberAdmission", {"did": USER}, "admit somebody", 60)
BUDGET = Motion("BudgetAllocation", {"did": USER, "amount": 500, "purpose": "tools"}, "a budget", 60)


def refused(error: pytest.ExceptionInfo[Refusal]) -> tuple[int, Any]:
    return error.value.code, error.value.details.get("home")


def test_a_proposal_goes_from_submission_to_execution(tmp_path: Path) -> None:
    """Three nodes vote, the home closes and executes, and every node then says the same."""

    async def story(federation: Governed) -> None:
        a, b, c = federation.nodes
        proposal_id, _ = await a.governance.submit(a.me.did, text(quorum=3))
        await federation.spread()
        for node, option in zip(federation.nodes, ("Yes", "Yes", "Abstain"), strict=True):
            await node.vote(proposal_id, option)
        close = await a.governance.close(proposal_id)
        assert (close.status, close.tally.shown()) == ("Accepted", {"yes": 2, "no": 0, "abstain": 1})
        assert (await a.governance.execute(proposal_id)).status == "Executed"
        assert a.status(proposal_id) == "Executed", "the home says so before its blocks are anchored"
        await federation.spread()
        assert [node.status(proposal_id) for node in federation.nodes] == ["Executed"] * 3
        assert [node.tally(proposal_id) for node in federation.nodes] == [close.tally.shown()] * 3
        assert [len(node.blocks()) for node in federation.nodes] == [6] * 3
        for node in federation.nodes:
            state = node.governance.state(proposal_id)
            assert state is not None
            assert len(node.governance.votes(state)) == 3

    governed(tmp_path, story)


def test_fees_are_burned_once_and_only_for_what_is_valid(tmp_path: Path) -> None:
    """10 mana for a proposal and 1 for a vote; repeats, refusals and other people's requests cost nothing."""

    async def story(federation: Governed) -> None:
        a, b, _ = federation.nodes
        first = await a.governance.submit(a.me.did, text(), "key")
        assert await a.governance.submit(a.me.did, text(), "key") == (first[0], True)
        with pytest.raises(Refusal, match="another proposal"):
            await a.governance.submit(a.me.did, text("something else"), "key")
        assert a.balance() == MANA - 10
        await a.vote(first[0], "Yes")
        await a.vote(first[0], "Yes")
        with pytest.raises(Refusal, match="has voted Yes"):
            await a.vote(first[0], "No")
        assert a.balance() == MANA - 11
        await federation.spread()
        federation.time += 60_000
        with pytest.raises(Refusal, match="ended"):
            await b.vote(first[0], "Yes")
        assert b.balance() == MANA

    governed(tmp_path, story)


def test_without_the_mana_nothing_is_proposed(tmp_path: Path) -> None:
    """A proposer that can't pay is refused with 402, and no block leaves."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        await a.ledger.write(lambda tx: _open(tx, 9))
        with pytest.raises(Refusal) as error:
            await a.governance.submit(USER, text())
        assert refused(error) == (402, None)
        await federation.spread()
        assert a.blocks() == []

    governed(tmp_path, story)


def test_one_vote_a_member_in_a_race(tmp_path: Path) -> None:
    """Of many votes of one member at once, for different options, one counts; the others are repeats or conflicts."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        votes = [a.vote(proposal_id, option) for option in ("Yes", "No", "Abstain") * 10]
        answers = await asyncio.gather(*votes, return_exceptions=True)
        taken = {answer.cid for answer in answers if not isinstance(answer, BaseException)}
        conflicts = [answer for answer in answers if isinstance(answer, Refusal) and answer.code == 409]
        assert (len(taken), len(conflicts)) == (1, 20)
        assert a.balance() == MANA - 11

    governed(tmp_path, story)


def test_a_vote_is_taken_at_home_only(tmp_path: Path) -> None:
    """Another node says where the voter is at home, so that two sides of a partition can't both take a vote."""

    async def story(federation: Governed) -> None:
        a, b, _ = federation.nodes
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        with pytest.raises(Refusal) as error:
            await b.vote(proposal_id, "Yes", a.me.did)
        assert refused(error) == (421, "node-a")
        with pytest.raises(Refusal) as error:
            await b.governance.submit(a.me.did, text())
        assert refused(error) == (421, "node-a")

    governed(tmp_path, story)


def test_a_stranger_may_propose_but_not_vote(tmp_path: Path) -> None:
    """Who has mana may propose; only members vote, from their admission on."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        await a.ledger.write(lambda tx: _open(tx, 100))
        before, _ = await a.governance.submit(USER, text())
        with pytest.raises(Refusal) as error:
            await a.vote(before, "Yes", USER)
        assert refused(error) == (403, None)
        await federation.accepted(ADMIT)
        with pytest.raises(Refusal, match="no member"):
            await a.vote(before, "Yes", USER)
        after, _ = await a.governance.submit(USER, text("now I may"))
        await a.vote(after, "Yes", USER)
        assert a.balance(USER) == 100 - 10 - 10 - 1

    governed(tmp_path, story)


def test_a_removed_member_votes_no_more(tmp_path: Path) -> None:
    """RemoveMember takes the vote of a founding node for later proposals, on every node."""

    async def story(federation: Governed) -> None:
        a, b, c = federation.nodes
        await federation.accepted(Motion("RemoveMember", {"did": c.me.did}, "c goes", 60))
        proposal_id, _ = await b.governance.submit(b.me.did, text())
        await federation.spread()
        with pytest.raises(Refusal, match="no member"):
            await c.vote(proposal_id, "No")
        await a.vote(proposal_id, "Yes")
        await b.vote(proposal_id, "Yes")
        assert (await b.governance.close(proposal_id)).status == "Accepted"
        assert {len(node.known.membership(node.store.read)[0]) for node in federation.nodes} == {2}

    governed(tmp_path, story)


def test_only_the_home_closes_and_only_at_the_end(tmp_path: Path) -> None:
    """421 elsewhere, 409 while members can still vote; after the deadline what came counts."""

    async def story(federation: Governed) -> None:
        a, b, _ = federation.nodes
        proposal_id, _ = await a.governance.submit(a.me.did, text(quorum=2))
        await federation.spread()
        await b.vote(proposal_id, "Yes")
        with pytest.raises(Refusal) as error:
            await b.governance.close(proposal_id)
        assert refused(error) == (421, "node-a")
        with pytest.raises(Refusal, match="2 of 3 members have not voted"):
            await a.governance.close(proposal_id)
        with pytest.raises(Refusal, match="not closed"):
            await a.governance.execute(proposal_id)
        federation.time = START + 60_000
        close = await a.governance.close(proposal_id)
        assert (close.status, close.tally.voters) == ("Rejected", 1), "one vote is less than the quorum of two"
        assert await a.governance.close(proposal_id) == close
        with pytest.raises(Refusal, match="rejected"):
            await a.governance.execute(proposal_id)

    governed(tmp_path, story)


def test_a_close_gathers_the_votes_of_the_peers_that_answer(tmp_path: Path) -> None:
    """Votes that were acknowledged elsewhere count though no block has come yet; those of a peer that is away do not."""

    async def story(federation: Governed) -> None:
        a, b, c = federation.nodes
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        for node in (a, b, c):
            await node.vote(proposal_id, "Yes")
        c.up = False
        federation.time += 60_000
        assert (await a.governance.close(proposal_id)).tally.shown() == {"yes": 2, "no": 0, "abstain": 0}
        await federation.spread()
        assert [node.status(proposal_id) for node in federation.nodes] == ["Accepted"] * 3
        assert [node.tally(proposal_id) for node in federation.nodes] == [{"yes": 2, "no": 0, "abstain": 0}] * 3

    governed(tmp_path, story)


def test_closes_and_executions_in_a_race_are_one(tmp_path: Path) -> None:
    """Ten closes at once give one close block, ten executions one execution."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        for node in federation.nodes:
            await node.vote(proposal_id, "Yes")
        closes = await asyncio.gather(*(a.governance.close(proposal_id) for _ in range(10)))
        executions = await asyncio.gather(*(a.governance.execute(proposal_id) for _ in range(10)))
        assert len(set(closes)) == len(set(executions)) == 1
        await federation.spread()
        assert [len(node.blocks()) for node in federation.nodes] == [6] * 3

    governed(tmp_path, story)


def test_a_vote_fetches_a_proposal_that_is_not_here_yet(tmp_path: Path) -> None:
    """A member can vote at once at its own home; an id that nobody knows is 404, and what is no CID is 400."""

    async def story(federation: Governed) -> None:
        a, b, _ = federation.nodes
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        assert (await b.vote(proposal_id, "No")).option == "No"
        with pytest.raises(Refusal) as error:
            await b.vote(identity_cid("nobody made this"), "No")
        assert refused(error) == (404, None)
        with pytest.raises(Refusal) as error:
            await b.vote("prop-1", "No")
        assert refused(error) == (400, None)

    governed(tmp_path, story)


def test_until_the_founding_nodes_have_met_there_is_no_governance(tmp_path: Path) -> None:
    """A node that does not know all founding members can't tell who may vote: 503, asking again may help."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        a.roster.met = False
        with pytest.raises(Refusal) as error:
            await a.governance.submit(a.me.did, text())
        assert (error.value.code, error.value.retry_after) == (503, 1)
        assert a.balance() == MANA

    governed(tmp_path, story)


def test_a_budget_is_minted_once_at_the_home_of_who_gets_it(tmp_path: Path) -> None:
    """Executed, spread, restarted and seen again from the first effect: 500 mana, at node-b, once."""

    async def story(federation: Governed) -> None:
        await federation.accepted(BUDGET)
        b = federation.nodes[1]
        for _ in range(3):
            await b.fresh_effects(federation.clock).apply()
        assert b.balance(USER) == GRANT + 500
        for node in (federation.nodes[0], federation.nodes[2]):
            with pytest.raises(AssertionError):
                node.account(USER)
        await federation.accepted(BUDGET, key="once more")
        assert b.balance(USER) == GRANT + 1000, "another proposal is another budget"

    governed(tmp_path, story, homes={USER: "node-b"})


def test_a_node_that_lost_its_blocks_does_not_pay_again(tmp_path: Path) -> None:
    """The ledger remembers what was paid: syncing all blocks into an empty store mints nothing."""

    async def story(federation: Governed) -> None:
        await federation.accepted(BUDGET)
        b = federation.nodes[1]
        b.close()
        for file in (tmp_path / "node-b").glob("dag.db*"):
            file.unlink()
        again = federation.made("node-b")
        federation.nodes[1] = again
        await again.open()
        await federation.spread()
        assert again.status(next(iter(_ids(again)))) == "Executed"
        assert again.balance(USER) == GRANT + 500
        again.close()
        b.ledger.open()  # the federation closes the node that it started
        b.store.open()

    governed(tmp_path, story, homes={USER: "node-b"})


def test_a_parameter_changes_on_every_node_and_the_latest_change_stands(tmp_path: Path) -> None:
    """client_rate reaches its setter, capacity the ledger's accounts, also when an older change comes later."""

    async def story(federation: Governed) -> None:
        for value in (70, 90):
            change = {"name": "client_rate", "value": value}
            await federation.accepted(Motion("SystemParameterChange", change, "a rate", 60), by=value % 2)
        await federation.accepted(Motion("SystemParameterChange", {"name": "capacity", "value": 20_000}, "room", 60), by=2)
        for node in federation.nodes:
            assert node.parameters == {"client_rate": 90}
            assert node.account().capacity == 20_000
            assert node.effects.parameters == {"client_rate": 90, "capacity": 20_000}

    governed(tmp_path, story)


def test_a_change_after_a_change_stands_though_a_clock_went_back(tmp_path: Path) -> None:
    """An execution is later than all effects that its home knows, so that a slow clock does not undo what was decided."""

    async def story(federation: Governed) -> None:
        for value in (70, 90):
            change = {"name": "client_rate", "value": value}
            await federation.accepted(Motion("SystemParameterChange", change, "a rate", 60))
            federation.time -= 10_000
        assert [node.parameters for node in federation.nodes] == [{"client_rate": 90}] * 3

    governed(tmp_path, story)


def test_what_would_change_nothing_fails_with_a_reason(tmp_path: Path) -> None:
    """Admitting a member, and removing who is none, end as Failed on every node, without effect."""

    async def story(federation: Governed) -> None:
        member = federation.nodes[1].me.did
        admitted = await federation.accepted(Motion("MemberAdmission", {"did": member}, "again", 60))
        removed = await federation.accepted(Motion("RemoveMember", {"did": USER}, "who?", 60))
        for node in federation.nodes:
            assert [node.status(admitted), node.status(removed)] == ["Failed", "Failed"]
            assert len(node.known.membership(node.store.read)[0]) == 3
        state = federation.nodes[2].governance.state(admitted)
        assert state is not None
        assert state.execution is not None
        assert "is a member already" in state.execution.reason

    governed(tmp_path, story)


def test_the_text_of_a_proposal_is_a_block_that_it_links_to(tmp_path: Path) -> None:
    """The body can be fetched from every node under the CID that the proposal names."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        proposal_id, _ = await a.governance.submit(a.me.did, text(body=b"a long text"))
        await federation.spread()
        for node in federation.nodes:
            state = node.governance.state(proposal_id)
            assert state is not None
            assert state.proposal.body is not None
            assert node.dag.get(state.proposal.body) == b"a long text"

    governed(tmp_path, story)


def test_a_ledger_that_is_away_decides_nothing(tmp_path: Path) -> None:
    """A vote whose commit fails is not counted, and the same vote counts when the ledger is back."""

    async def story(federation: Governed) -> None:
        a = federation.nodes[0]
        proposal_id, _ = await a.governance.submit(a.me.did, text())
        a.ledger._writer.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable):
            await a.vote(proposal_id, "Yes")
        a.ledger._writer.execute("PRAGMA query_only = OFF")
        state = a.governance.state(proposal_id)
        assert state is not None
        assert a.governance.votes(state) == []
        await a.vote(proposal_id, "Yes")
        assert len(a.governance.votes(state)) == 1

    governed(tmp_path, story)


def _open(tx: Any, mana: int) -> None:
    from gates.node import ledger

    ledger.open_account(tx, USER, mana, START)


def _ids(node: Any) -> list[str]:
    return [found for (found,) in node.store.read("SELECT id FROM proposals")]


def identity_cid(text: str) -> str:
    from gates.node.cid import DAG_CBOR, cid_of

    return cid_of(text.encode(), DAG_CBOR)
