"""The invariants over governance: one vote a member, and the tally that the votes add up to, on every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gates.model import InvariantOutcome, Operation
from gates.node.invariants import OverFederation, census, named, spec, table
from gates.node.observation import Block, Federation
from gates.node.proof import link

FEWEST_VOTES = 50
MILLION = 1_000_000
OPTIONS = ("Yes", "No", "Abstain")


def cast(federation: Federation, proposal: str) -> list[Block]:
    """The votes on *proposal* that the voter's own node has signed, in the order of their CIDs.

    A node votes for itself; who is a member without being a node has its home by rendezvous, which the nodes check.
    """
    nodes = {node.did for node in federation.nodes.values()}
    on_it = [block for block in federation.of("icn/vote") if link(block.document.get("proposal")) == proposal]
    return [block for block in on_it if block.document["node"] in nodes and _at_home(block, nodes)]


def _at_home(vote: Block, nodes: set[str]) -> bool:
    voter = vote.document.get("voter")
    return voter not in nodes or vote.document["node"] == voter


def members(federation: Federation, proposal: Block) -> frozenset[str]:
    """Who may vote on *proposal*: the nodes, with the admissions and removals that the proposal names applied."""
    found = {node.did for node in federation.nodes.values()}
    executions = [federation.blocks[cid] for cid in map(link, proposal.document.get("changes", ())) if cid in federation.blocks]
    for execution in sorted(executions, key=lambda block: (block.document["at"], block.cid)):
        changed = federation.blocks.get(link(execution.document["proposal"]))
        if changed is not None and execution.document["status"] == "Executed":
            did = changed.document["data"].get("did")
            (found.add if changed.document["kind"] == "MemberAdmission" else found.discard)(did)
    return frozenset(found)


def counting(federation: Federation, proposal: Block) -> list[Block]:
    """The votes that count: by a member, before the deadline, one a member; of two, the one with the lower CID."""
    allowed, first = members(federation, proposal), dict[str, Block]()
    for vote in cast(federation, proposal.cid):
        told = vote.document
        if told["voter"] in allowed and told["at"] < proposal.document["deadline"]:
            first.setdefault(told["voter"], vote)
    return list(first.values())


def tally(votes: Sequence[Block]) -> dict[str, int]:
    """What *votes* add up to."""
    options = Counter(vote.document["option"] for vote in votes)
    return {option.lower(): options[option] for option in OPTIONS}


def outcome(sums: Mapping[str, int], proposal: Block) -> str:
    """Accepted when the quorum voted and enough of them said yes, abstentions included in the total."""
    voters = sum(sums.values())
    enough = voters >= max(1, proposal.document["quorum"])
    return "Accepted" if enough and sums["yes"] * MILLION >= proposal.document["threshold"] * voters else "Rejected"


class OneVoteAMember(OverFederation):
    """No member has two votes on one proposal: neither signed, nor counted on any node."""

    name = "one-vote-a-member"
    summary = "A member has at most one vote on a proposal, however often it asks."
    metrics = (spec("votes.duplicated", "Votes beyond the first of a member on a proposal", FEWEST_VOTES),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        votes = [(link(block.document.get("proposal")), block.document["voter"]) for block in after.of("icn/vote")]
        twice = {place: times - 1 for place, times in Counter(votes).items() if times > 1}
        shown = Counter[tuple[str, str]]()
        for name, node in after.nodes.items():
            for proposal in node.proposals:
                voters = [vote["voter"] for vote in proposal["votes"]]
                shown[name, proposal["id"]] += len(voters) - len(set(voters))
        rows = [
            ("votes signed", len(votes)),
            ("of which beyond the first of a member", sum(twice.values())),
            ("counted twice on some node", sum(shown.values())),
        ]
        offenders = [f"{voter} on {proposal}" for proposal, voter in twice] + [f"{cid} on {name}" for name, cid in +shown]
        return InvariantOutcome(
            census("votes.duplicated", sum(twice.values()) + sum(shown.values()), len(votes)),
            table("Votes", ("what", "count"), rows),
            named("more than one vote of a member", offenders),
        )


class TalliesRight(OverFederation):
    """Every node shows the tally that the signed votes add up to, and every close follows from it.

    What a node shows of a proposal that nobody signed is wrong on that node.
    """

    name = "tallies-equal-the-votes"
    summary = "On every node the tally of every proposal is what its votes add up to."
    metrics = (spec("tally.wrong", "Proposals on a node whose tally or outcome is not what the votes add up to", 20),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        closes: dict[str, list[Block]] = {}
        for close in after.of("icn/close"):
            closes.setdefault(link(close.document["proposal"]), []).append(close)
        expected = {block.cid: judged(after, block, closes.get(block.cid, ())) for block in after.of("icn/proposal")}
        wrong: list[tuple[str, str]] = []
        unsigned: list[tuple[str, str]] = []
        for name, node in after.nodes.items():
            shown = {proposal["id"]: proposal for proposal in node.proposals}
            wrong += [(name, cid) for cid, right in expected.items() if right is None or not _right(shown.get(cid), *right)]
            unsigned += [(name, cid) for cid in shown if cid not in expected]
        votes = sum(sum(right[0].values()) for right in expected.values() if right)
        offenders = Counter(name for name, _ in wrong + unsigned)
        rows = [(name, len(node.proposals), offenders[name]) for name, node in after.nodes.items()]
        return InvariantOutcome(
            census("tally.wrong", len(wrong) + len(unsigned), len(expected) * len(after.nodes) + len(unsigned)),
            table(f"Tallies of {len(expected):,} proposals over {votes:,} votes", ("node", "proposals", "wrong"), rows),
            (
                *named("a tally or a close that the votes don't add up to", [f"{cid} on {name}" for name, cid in wrong]),
                *named("a proposal that is shown and that nobody signed", [f"{cid} on {name}" for name, cid in unsigned]),
            ),
        )


def judged(after: Federation, proposal: Block, closes: Sequence[Block]) -> tuple[dict[str, int], str] | None:
    """Tally and outcome of *proposal* as nodes must show it, the outcome empty while it is open; None when a close is wrong.

    Of several closes nodes show the one with the lowest CID; the others must follow from their votes too, to the same end.
    """
    counted = counting(after, proposal)
    ends = [_ended(proposal, close, counted) for close in closes]
    if not ends:
        return tally(counted), ""
    contradict = len({end[1] for end in ends if end}) > 1
    return None if contradict or None in ends else ends[0]


def _ended(proposal: Block, close: Block, counted: Sequence[Block]) -> tuple[dict[str, int], str] | None:
    """What the votes that *close* names add up to, and the outcome; None unless the proposal's home says the same."""
    told, sent = close.document, {link(vote) for vote in close.document["votes"]}
    sums = tally([vote for vote in counted if vote.cid in sent])
    end = sums, outcome(sums, proposal)
    stated = {option: told.get(option) for option in sums}, told.get("status")
    return end if stated == end and told["node"] == proposal.document["node"] else None


def _right(shown: Mapping[str, Any] | None, sums: Mapping[str, int], ended: str) -> bool:
    """Whether what a node shows of a proposal follows from the votes."""
    if shown is None or {name: shown["tally"][name] for name in sums} != dict(sums):
        return False
    if not ended:
        return bool(shown["status"] == "VotingOpen")
    return bool(shown["status"] == ended or (ended == "Accepted" and shown["status"] in ("Executed", "Failed")))
