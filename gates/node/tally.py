"""Which votes count, what they add up to, and what follows: pure functions, the same on every node."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

YES, NO, ABSTAIN = OPTIONS = ("Yes", "No", "Abstain")
ACCEPTED, REJECTED = "Accepted", "Rejected"
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote, as a block of the federation tells it.

    Attributes:
        cid: the block.
        proposal: what was voted on.
        voter: the member's DID.
        option: one of OPTIONS.
        at: when the voter's home took it, in milliseconds since the epoch.
        node: DID of the voter's home, which signed it.
    """

    cid: str
    proposal: str
    voter: str
    option: str
    at: int
    node: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes for each option."""

    yes: int
    no: int
    abstain: int

    @property
    def voters(self) -> int:
        """How many voted at all."""
        return self.yes + self.no + self.abstain

    def shown(self) -> dict[str, int]:
        """The members of the interface's tally."""
        return {"yes": self.yes, "no": self.no, "abstain": self.abstain}


def counting(votes: Iterable[Vote], members: Collection[str], deadline: int) -> list[Vote]:
    """Those of *votes* that count, in the order of their CIDs: by a member, before the deadline, one a member.

    A home that signed two votes of one member broke its word; then the one with the lower CID counts, on every node.
    """
    first: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda vote: vote.cid):
        if vote.voter in members and vote.at < deadline:
            first.setdefault(vote.voter, vote)
    return list(first.values())


def tally(votes: Iterable[Vote]) -> Tally:
    """The sums over *votes* that count."""
    options = [vote.option for vote in votes]
    return Tally(*(options.count(option) for option in OPTIONS))


def outcome(sums: Tally, quorum: int, threshold: int) -> str:
    """Accepted when *quorum* members voted and *threshold* millionths of them, abstentions included, said yes."""
    enough = sums.voters >= max(quorum, 1) and sums.yes * MILLION >= threshold * sums.voters
    return ACCEPTED if enough else REJECTED
