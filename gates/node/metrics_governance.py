"""What governance counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class GovernanceMetrics:
    """The families of proposals, votes and what follows from them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"icn_governance_{name}", text, labels, registry=registry)

        self.proposals = counter("proposals", "Proposals made here, by what they would change", "kind")
        self.votes = counter("votes", "Votes taken here", "option")
        self.repeated = counter("repeated", "Requests that found their answer made before", "operation")
        self.refused = counter("refused", "Requests that were not carried out", "operation", "code")
        self.closed = counter("closed", "Votings closed here, by what came out", "status")
        self.executed = counter("executed", "Accepted proposals executed here, by how it ended", "kind", "status")
        self.effects = counter("effects", "Effects of executed proposals that changed this node", "kind")
        self.fees = counter("fees_mana", "Mana burned for proposals and votes", "operation")
        self.blocks = counter("blocks", "Blocks of governance that came to this node", "type", "outcome")
        self.pulled = counter("pulled_blocks", "Blocks that peers were asked for to decide", "peer")
        self.members = Gauge("icn_governance_members", "Members that may vote, as this node knows", registry=registry)
        self.turnout = Histogram(
            "icn_governance_turnout_ratio",
            "Members that voted, of those that could, in votings closed here",
            buckets=_RATIOS,
            registry=registry,
        )
        self.closing = Histogram(
            "icn_governance_close_seconds", "Time to gather the votes and close", buckets=_SECONDS, registry=registry
        )
