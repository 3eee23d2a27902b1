"""Drills that only ICN can have: nodes that break their promises. Reached by the entry point `gates.drills`.

Each has a base, a gate of readiness.yaml made small, and a probe (`sightings.py`) that reads what the nodes left on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gates.model import Base, Drill, Tree
from gates.node import sightings
from gates.node.sightings import Probe

CRASH = Base(
    name="crash",
    gate="crash",
    criteria=(
        "acknowledged.lost",
        "acknowledged.duplicated",
        "mana.imbalance",
        "jobs.unfinished",
        "transitions.illegal",
        "refunds.wrong",
        "receipts.unverified",
        "receipts.missing",
        "roots.diverged",
        "unavailable@fault/healthy",
    ),
    scenario={
        "arrivals": {"rate": "150/s", "for": "6 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "30 %", "for": "40 %", "crash": {"node": "node-b"}}],
    },
    seconds=14.0,
)
# a recovery that does not come is a breach only once it was watched for longer than its limit
RECOVERY = Base(
    name="recovery",
    gate="crash",
    criteria=("recovery.time",),
    scenario={
        "arrivals": {"rate": "60/s", "for": "10 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "10 %", "for": "5 %", "crash": {"node": "node-b"}}],
    },
    seconds=15.0,
)
GOVERNANCE = Base(
    name="governance",
    gate="governance",
    criteria=("votes.duplicated", "tally.wrong", "mana.imbalance"),
    scenario={"arrivals": {"rate": "60/s", "for": "10 s"}, "warmup": "1 s"},
    seconds=20.0,
)
DEGRADED = Base(
    name="degraded",
    gate="degraded",
    criteria=(
        "ready.lied",
        "acknowledged.lost",
        "back.time",
        "recovery.time",
        "breaker.open.time",
        "breaker.closed.time",
        "breaker.stuck",
        "refused.unadvised",
        "stale.answers",
    ),
    scenario={
        "arrivals": {"rate": "60/s", "for": "9 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "10 %", "for": "60 %", "lock": {"node": "node-b", "file": "ledger.db"}}],
    },
    seconds=15.0,
)
ANCHORING = Base(
    name="anchoring",
    gate="anchoring",
    criteria=("receipts.missing", "unavailable@fault/faulted", "refused.answers"),
    scenario={
        "arrivals": {"rate": "150/s", "for": "9 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "10 %", "for": "60 %", "lock": {"node": "node-b", "file": "dag.db", "vital": False}}],
    },
    seconds=16.0,
)


def with_defect(name: str) -> Callable[[Tree], Tree]:
    """The same federation, with a defect in every node."""

    def seed(tree: Tree) -> Tree:
        return tree.with_target(federation={**tree.spec["target"]["federation"], "defect": name})

    return seed


# --- the drills -------------------------------------------------------------------------------------------------------


def drill(base: Base, defect: str, criterion: str, summary: str, probe: Probe, name: str = "", **more: Any) -> Drill:
    """The drill that gives every node of *base* the *defect*; *name* where that is not the defect's own."""
    seconds: float = more.get("seconds", base.seconds)
    return Drill(name or defect, summary, base, criterion, with_defect(defect), probe, seconds=seconds)


_ACKNOWLEDGED = sightings.counted(
    sightings.lost, "{struck} jobs were acknowledged too early, and the databases lack {found} of them"
)

DRILLS = (
    drill(
        CRASH,
        "ack-before-durable",
        "acknowledged.lost",
        "Nodes acknowledge a job before it is synced, and one of them is killed.",
        _ACKNOWLEDGED,
    ),
    drill(
        CRASH,
        "double-charge",
        "mana.imbalance",
        "Nodes charge a repeated key again.",
        sightings.counted(
            sightings.burned_for_no_job,
            "{struck} repeated keys were charged again, and {found} mana was burned for no completed job",
        ),
    ),
    drill(
        CRASH,
        "forget-keys",
        "acknowledged.duplicated",
        "Nodes forget which keys they know, and make a second job.",
        sightings.counted(
            sightings.repeated_keys, "{struck} submissions met a forgotten key, and {found} keys have more than one job"
        ),
    ),
    drill(
        CRASH,
        "stuck-job",
        "jobs.unfinished",
        "Nodes take the receipts of some jobs and put them nowhere.",
        sightings.counted(
            sightings.without_end, "{struck} receipts were put nowhere, and the databases hold {found} jobs without an end"
        ),
        seconds=35.0,
    ),
    drill(
        CRASH,
        "illegal-transition",
        "transitions.illegal",
        "Nodes assign a job while the bidding on it is open.",
        sightings.counted(
            sightings.jumps, "bidding was not closed {struck} times, and {found} jobs in the databases went on without"
        ),
    ),
    drill(
        CRASH,
        "double-refund",
        "refunds.wrong",
        "Nodes give back twice what a job did not cost.",
        sightings.counted(
            sightings.apart, "{struck} refunds were given twice, and the ledgers are {found} mana apart from what came in"
        ),
    ),
    drill(
        CRASH,
        "unverified-receipt",
        "receipts.unverified",
        "Executors sign some receipts with nothing, and nobody looks.",
        sightings.counted(
            sightings.unsigned, "{struck} receipts were not signed, and the block stores hold {found} copies of such"
        ),
    ),
    drill(
        CRASH,
        "lost-outbox",
        "receipts.missing",
        "Nodes complete a job and don't put its receipt into the outbox.",
        sightings.receipts_missing,
        seconds=16.0,
    ),
    drill(
        CRASH,
        "skipped-block",
        "roots.diverged",
        "Anti-entropy passes over some blocks.",
        sightings.blocks_apart,
        seconds=60.0,
    ),
    drill(
        CRASH,
        "refuse-when-peer-down",
        "unavailable@fault/healthy",
        "Nodes refuse jobs while a peer does not answer, so that one failure takes all of them down.",
        sightings.refused("of a peer"),
    ),
    drill(
        RECOVERY,
        "slow-restart",
        "recovery.time",
        "A node that starts again takes seven seconds before it serves.",
        sightings.overslept,
        seconds=27.0,
    ),
    drill(
        GOVERNANCE,
        "double-vote",
        "votes.duplicated",
        "The home of a member signs a second vote of it on the same proposal.",
        sightings.counted(
            sightings.double_votes, "{struck} members voted again, and the block stores hold {found} pairs of votes"
        ),
    ),
    drill(
        GOVERNANCE,
        "wrong-tally",
        "tally.wrong",
        "Every node counts votes against a proposal as votes for it.",
        sightings.counted(
            sightings.against, "{struck} tallies were wrong, of {found} proposals that the block stores hold votes against"
        ),
    ),
    drill(
        GOVERNANCE,
        "double-spend-on-retry",
        "mana.imbalance",
        "A member that votes again, because it lost the answer, pays its fee again.",
        sightings.counted(
            sightings.burned_for_no_vote,
            "{struck} repeated votes were paid again, and {found} mana was burned for no proposal and no vote",
        ),
    ),
    drill(
        DEGRADED,
        "ready-always-yes",
        "ready.lied",
        "A node says that it is ready although its ledger takes no writes.",
        sightings.lies,
    ),
    drill(
        DEGRADED,
        "ack-before-durable",
        "acknowledged.lost",
        "Nodes acknowledge a job before it is written, and the ledger of one of them takes no writes.",
        _ACKNOWLEDGED,
        name="ack-while-locked",
    ),
    drill(
        ANCHORING,
        "impatient-outbox",
        "receipts.missing",
        "A node gives up the receipts that its block store did not take at once.",
        sightings.receipts_missing,
        seconds=25.0,
    ),
    drill(
        ANCHORING,
        "blocks-before-jobs",
        "unavailable@fault/faulted",
        "A node refuses jobs while its block store takes no writes, though receipts could wait.",
        sightings.refused("of the block store"),
    ),
    drill(
        ANCHORING,
        "blocks-before-jobs",
        "refused.answers",
        "Clients of a node whose block store takes no writes are refused.",
        sightings.refused("of the block store"),
        name="refused-for-blocks",
    ),
)
