"""How far a proposal has come and what follows from it: records, and pure rules that every node applies alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gates.node import motion, tally
from gates.node.ballot import Close, Execution, Proposal
from gates.node.errors import Refusal
from gates.node.tally import Vote


@dataclass(frozen=True, slots=True)
class Effect:
    """What an executed proposal changes.

    Attributes:
        number: its place in this node's list.
        cid: the execution.
        subject: the parameter or DID that is changed.
        value: the new value, the amount, or whether it is a member.
    """

    number: int
    cid: str
    proposal: str
    kind: str
    subject: str
    value: int
    at: int


@dataclass(frozen=True, slots=True)
class State:
    """A proposal and how far it has come."""

    number: int
    proposal: Proposal
    status: str
    close: Close | None
    execution: Execution | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which proposals are asked for.

    Attributes:
        after: only those behind this number; 0 begins with the first.
        status: only those of this status.
        node: only those of this home.
        newest: the last one first.
    """

    after: int = 0
    limit: int = 100
    status: str | None = None
    node: str | None = None
    newest: bool = False


def check_vote(vote: Vote, proposal: Proposal, members: frozenset[str]) -> None:
    """Raises Refusal with 422 for a vote that may not be on *proposal*."""
    if vote.voter not in members:
        raise Refusal(422, f"voter: {vote.voter} is no member that may vote on this proposal")
    if vote.at >= proposal.deadline:
        raise Refusal(422, "at: the vote is later than the deadline")


def check_close(close: Close, proposal: Proposal, members: frozenset[str], votes: Sequence[Vote]) -> None:
    """Raises Refusal with 422 unless the close is in time and its tally and status follow from its *votes*."""
    counted = tally.counting(votes, members, proposal.deadline)
    if len(counted) != len(close.votes):
        raise Refusal(422, "votes: expected votes on this proposal by members, before its deadline, one a member")
    if close.at < proposal.deadline and len(counted) < len(members):
        raise Refusal(422, "at: the voting was still open")
    sums = tally.tally(counted)
    if close.tally != sums:
        raise Refusal(422, f"tally: the votes that the close names add up to {sums.shown()}")
    if close.status != tally.outcome(sums, proposal.quorum, proposal.threshold):
        raise Refusal(422, "status: it does not follow from the tally")


def last_of_each(effects: Iterable[Effect]) -> dict[str, Effect]:
    """The effect that stands for each subject: the latest, and of two at one instant the one with the higher CID."""
    return {effect.subject: effect for effect in sorted(effects, key=lambda effect: (effect.at, effect.cid))}


def members_after(founding: Iterable[str], changes: Iterable[Effect]) -> frozenset[str]:
    """The founding members with *changes* applied."""
    latest = last_of_each(change for change in changes if change.kind in (motion.ADMISSION, motion.REMOVAL))
    admitted = {did for did, change in latest.items() if change.value}
    return (frozenset(founding) - latest.keys()) | admitted


def overlaid(state: State, close: Close | None, execution: Execution | None) -> State:
    """*state* with decisions of this node that are not anchored yet."""
    close, execution = state.close or close, state.execution or execution
    status = execution.status if execution else close.status if close else state.status
    return replace(state, status=status, close=close, execution=execution)


def nothing_to_do(proposal: Proposal, members: frozenset[str]) -> str:
    """Why executing *proposal* would change nothing, or ""."""
    did = proposal.data.get("did")
    if proposal.kind == motion.ADMISSION and did in members:
        return f"{did} is a member already"
    if proposal.kind == motion.REMOVAL and did not in members:
        return f"{did} is no member"
    if proposal.kind == motion.REMOVAL and len(members) == 1:
        return "the last member can't be removed"
    return ""
