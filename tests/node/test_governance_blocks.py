"""What a node makes of blocks: the same in every order of arrival, and nothing of what is forged."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any

import pytest
from governed import DAG, NAMES, START, StaticRoster, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.node import ballot, cid
from gates.node.assembly import Assembly
from gates.node.dag import Dag, checked
from gates.node.errors import Refusal
from gates.node.identity import Identity, signed
from gates.node.motion import Motion
from gates.node.tally import Tally

A, B, C = (identity(name) for name in NAMES)
USER, OTHER = identity("somebody"), identity("somebody else")
END = START + 60_000
HOMES = {USER.did: "node-b"}


class Shelf:
    """A block store in memory with the index over it."""

    def __init__(self, roster: StaticRoster | None = None) -> None:
        self.tx = sqlite3.connect(":memory:", isolation_level=None)
        self.tx.executescript(DAG[0])
        self.seen: list[tuple[str, str]] = []
        roster = roster or StaticRoster("node-a", homes=HOMES)
        self.known = Assembly(roster, lambda kind, outcome: self.seen.append((kind, outcome)))
        self.dag = Dag(None, self.known.projectors(), lambda: START)  # type: ignore[arg-type]

    def add(self, *blocks: bytes) -> None:
        for data in blocks:
            self.tx.execute("SAVEPOINT change")
            try:
                self.dag.insert(self.tx, checked(data, cid.DAG_CBOR, A.did))
            except Refusal:
                self.tx.execute("ROLLBACK TO change")
                raise
            finally:
                self.tx.execute("RELEASE change")

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self.tx.execute(statement, parameters).fetchall()

    def told(self) -> dict[str, Any]:
        """All that can be asked of the index, but for the order in which things came."""
        proposals = self.read("SELECT id, status, close, execution FROM proposals ORDER BY id")
        effects = self.read("SELECT cid, proposal, kind, subject, value, at FROM effects ORDER BY cid")
        members, changes = self.known.membership(self.read)
        votes = {each: self.known.votes(self.read, each) for each, *_ in proposals}
        return {
            "proposals": proposals,
            "effects": effects,
            "members": (members, sorted(changes)),
            "parameters": self.known.parameters(self.read),
            "votes": votes,
        }


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    with closing(made.tx):
        yield made


def name_of(block: bytes) -> str:
    return cid.cid_of(block, cid.DAG_CBOR)


def proposed(kind: str = "GenericText", by: Identity = A, changes: Sequence[str] = (), **data: Any) -> bytes:
    return ballot.proposal_block(Motion(kind, data or {"text": ""}, "words", 60), by.did, "key", START, changes, by)


def voted(proposal: bytes, by: Identity, option: str = "Yes", node: Identity | None = None, at: int = START) -> bytes:
    return ballot.vote_block(name_of(proposal), by.did, option, at, node or by)


def closed(
    proposal: bytes, votes: Sequence[bytes], sums: Tally, status: str = "Accepted", by: Identity = A, at: int = END
) -> bytes:
    return ballot.close_block(name_of(proposal), [name_of(vote) for vote in votes], sums, status, at, by)


def executed(proposal: bytes, close: bytes, by: Identity = A, at: int = END, status: str = "Executed") -> bytes:
    return ballot.execution_block(name_of(proposal), name_of(close), status, "", at, by)


def whole(proposal: bytes, voters: Sequence[Identity] = (A, B, C), by: Identity = A, at: int = END) -> list[bytes]:
    """All blocks of a proposal that *voters* accepted."""
    votes = [voted(proposal, voter, node=B if voter is USER else None) for voter in voters]
    close = closed(proposal, votes, Tally(len(voters), 0, 0), by=by)
    return [proposal, *votes, close, executed(proposal, close, by=by, at=at)]


@cache
def history() -> tuple[bytes, ...]:
    """A federation's life: members and parameters that change twice, a rejection, and two votes of one member by its home."""
    admission = whole(proposed("MemberAdmission", did=USER.did))
    rate = whole(proposed("SystemParameterChange", name="client_rate", value=70), at=END + 5)
    again = whole(proposed("SystemParameterChange", B, name="client_rate", value=90), by=B, at=END + 4)
    with_user = whole(proposed("RemoveMember", changes=[name_of(admission[-1])], did=C.did), (A, B, C, USER))
    after = [name_of(admission[-1]), name_of(with_user[-1])]
    without_c = whole(proposed("BudgetAllocation", B, changes=after, did=USER.did, amount=5), (A, B, USER), by=B)
    late = proposed("SoftwareUpgrade", C, version="2")
    votes = [voted(late, A, "No"), voted(late, B, "Abstain"), voted(late, B, "Yes")]
    rejection = closed(late, votes[:2], Tally(0, 1, 1), "Rejected", by=C)
    return (*admission, *rate, *again, *with_user, *without_c, late, *votes, rejection)


@pytest.mark.end_to_end
@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_every_order_of_arrival_gives_the_same_state(shuffler: random.Random) -> None:
    """Whatever came first, and whatever came twice, the index says the same as after the order in which it was made."""
    expected, other = Shelf(), Shelf(StaticRoster("node-c", homes=HOMES))
    with closing(expected.tx), closing(other.tx):
        expected.add(*history())
        shuffled = [*history(), *history()[::3]]
        shuffler.shuffle(shuffled)
        other.add(*shuffled)
        assert other.told() == expected.told()
        statuses = [status for _, status, *_ in expected.told()["proposals"]]
        assert sorted(statuses) == ["Executed"] * 5 + ["Rejected"]
        assert expected.told()["parameters"] == {"client_rate": 70}, "the later one stands, though it came first"
        assert expected.told()["members"][0] == {A.did, B.did, USER.did}


def forged(block: bytes, by: Identity | None = None, **changes: Any) -> bytes:
    """*block* with changed fields, signed again by *by*, or with the signature that it had."""
    document: Mapping[str, Any] = {**cid.decode(block), **changes}
    if by is None:
        return cid.encode(dict(document))
    rest = {name: value for name, value in document.items() if name != "signature"}
    return cid.encode(signed(document["type"], rest, by))


PROPOSAL = proposed()
VOTES = [voted(PROPOSAL, A), voted(PROPOSAL, B, "No"), voted(PROPOSAL, C)]
CLOSE = closed(PROPOSAL, VOTES, Tally(2, 1, 0))
WRONG_VOTES = {
    "changed after it was signed": (forged(VOTES[0], option="No"), "signature"),
    "signed by another node in the home's name": (forged(VOTES[0], B), "signature"),
    "signed by a node that is not the voter's home": (voted(PROPOSAL, A, node=B), "home"),
    "signed by the voter, who is no node": (voted(PROPOSAL, USER), "no node"),
    "by who is no member": (voted(PROPOSAL, USER, node=B), "no member"),
    "later than the deadline": (voted(PROPOSAL, A, at=END), "deadline"),
    "for another option": (forged(VOTES[0], A, option="Maybe"), "option"),
    "with a field too many": (forged(VOTES[0], A, weight=2), "weight"),
    "on what is no link": (forged(VOTES[0], A, proposal=name_of(PROPOSAL)), "proposal"),
    "at a time that is no integer": (forged(VOTES[0], A, at=1.5), "at"),
    "at a time that is true": (forged(VOTES[0], A, at=True), "at"),
}
WRONG_CLOSES = {
    "with a tally that its votes do not give": (closed(PROPOSAL, VOTES, Tally(3, 0, 0)), "add up"),
    "with more votes in the tally than it names": (closed(PROPOSAL, VOTES[:2], Tally(2, 1, 0)), "names 2"),
    "with an outcome that does not follow": (closed(PROPOSAL, VOTES, Tally(2, 1, 0), "Rejected"), "status"),
    "by a node that is not the proposal's home": (closed(PROPOSAL, VOTES, Tally(2, 1, 0), by=B), "home"),
    "before the end": (closed(PROPOSAL, VOTES[::2], Tally(2, 0, 0), at=END - 1), "open"),
    "with a vote on something else": (
        closed(proposed("SoftwareUpgrade", version="3"), VOTES, Tally(2, 1, 0)),
        None,
    ),
}


@pytest.mark.parametrize("wrong", WRONG_VOTES)
def test_a_forged_vote_is_refused(shelf: Shelf, wrong: str) -> None:
    """A vote that its voter's home did not sign, or that may not be, is not stored; the right one still is."""
    block, told = WRONG_VOTES[wrong]
    shelf.add(PROPOSAL)
    with pytest.raises(Refusal, match=told) as error:
        shelf.add(block)
    assert error.value.code == 422
    assert shelf.read("SELECT * FROM votes") == []
    assert shelf.read("SELECT count(*) FROM blocks") == [(1,)]
    assert shelf.seen[-1] == ("icn/vote", "refused")
    shelf.add(VOTES[0])
    assert [vote.option for vote in shelf.known.votes(shelf.read, name_of(PROPOSAL))] == ["Yes"]


@pytest.mark.parametrize("wrong", WRONG_CLOSES)
@pytest.mark.parametrize("first", [True, False])
def test_a_wrong_close_ends_nothing(shelf: Shelf, wrong: str, first: bool) -> None:
    """A close that does not follow from its votes is refused; when it comes before them it is never acted on."""
    block, told = WRONG_CLOSES[wrong]
    execution = executed(PROPOSAL, block)
    if first and told != "names 2":  # that one is wrong by itself, and never gets in
        shelf.add(block, execution, PROPOSAL, *VOTES)
    elif told is None:
        shelf.add(PROPOSAL, *VOTES, block)
    else:
        shelf.add(PROPOSAL, *VOTES)
        with pytest.raises(Refusal, match=told):
            shelf.add(block)
    assert shelf.read("SELECT status, close FROM proposals") == [("VotingOpen", None)]
    assert shelf.read("SELECT * FROM effects") == []
    shelf.add(CLOSE)
    assert shelf.read("SELECT status, close FROM proposals") == [("Accepted", name_of(CLOSE))]


def test_two_votes_of_one_member_do_not_both_count(shelf: Shelf) -> None:
    """A close that counts a member twice is refused, though the member's home signed both votes."""
    twice = [VOTES[0], voted(PROPOSAL, A, "No"), VOTES[1], VOTES[2]]
    shelf.add(PROPOSAL, *twice)
    with pytest.raises(Refusal, match="one a member"):
        shelf.add(closed(PROPOSAL, twice, Tally(2, 2, 0)))


def test_an_execution_needs_the_close_that_accepted(shelf: Shelf) -> None:
    """Another node's execution, or that of a rejected proposal, has no effect and is refused."""
    proposal = proposed("SystemParameterChange", name="client_rate", value=1)
    votes = [voted(proposal, A, "No")]
    close = closed(proposal, votes, Tally(0, 1, 0), "Rejected")
    shelf.add(proposal, *votes, close)
    with pytest.raises(Refusal, match="accepted"):
        shelf.add(executed(proposal, close))
    with pytest.raises(Refusal, match="home"):
        shelf.add(executed(proposal, close, by=B))
    assert shelf.known.parameters(shelf.read) == {}


def test_a_home_can_not_choose_who_votes(shelf: Shelf) -> None:
    """The electorate is the founding members and the executed changes that the proposal names, whoever made it."""
    invented = proposed(changes=[name_of(proposed("MemberAdmission", did=USER.did))])
    shelf.add(invented, voted(invented, USER, node=B))
    found = shelf.known.proposal(shelf.read, name_of(invented))
    assert found is not None
    assert shelf.known.electorate(shelf.read, found) is None
    close = closed(invented, [voted(invented, USER, node=B)], Tally(1, 0, 0))
    shelf.add(close, executed(invented, close))
    assert shelf.read("SELECT status FROM proposals") == [("VotingOpen",)]


def test_while_nodes_have_not_met_blocks_wait_outside() -> None:
    """Until all founding members are known nothing can be verified: 503, so that the block is asked for again."""
    shelf = Shelf(StaticRoster("node-a", met=False))
    with closing(shelf.tx):
        with pytest.raises(Refusal) as error:
            shelf.add(PROPOSAL)
        assert error.value.code == 503


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "Resolution"}, "proposal.type"),
        ({"data": {"text": 1}}, "text"),
        ({"quorum": 0}, "quorum"),
        ({"threshold": 0.5}, "threshold"),
        ({"deadline": START}, "deadline"),
        ({"proposer": "did:key:alice"}, "proposer"),
        ({"changes": [cid.link(name_of(VOTES[0]))] * 2}, "changes"),
        ({"changes": [name_of(VOTES[0])]}, "changes"),
        ({"body": b"no link"}, "body"),
        ({"node": B.did}, "signature"),
    ],
)
def test_a_malformed_proposal_is_refused(shelf: Shelf, changes: dict[str, Any], told: str) -> None:
    """Whatever its home signs, a proposal has exactly its fields, each of its type and within bounds."""
    with pytest.raises(Refusal, match=told) as error:
        shelf.add(forged(PROPOSAL, A, **changes))
    assert error.value.code == 422


def test_the_index_is_over_blocks_of_the_store(shelf: Shelf) -> None:
    """A block that is put twice is indexed once."""
    shelf.add(PROPOSAL, PROPOSAL)
    assert shelf.seen == [("icn/proposal", "indexed")]
