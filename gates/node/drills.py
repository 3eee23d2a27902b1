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
        "breaker.open.time",
        "breaker.closed.time",
        "breaker.stuck",
        "refused.unadvised",
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
    criteria=("receipts.missing", "unavailable@fault/faulted"),
    scenario={
        "arrivals": {"rate": "150/s", "for": "9 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "10 %", "for": "60 %", "lock": {"node": "node-b", "file": "dag.db", "vital": False}}],
    },
    seconds=16.0,
)
# long enough that a fault which nobody notices lasts longer than its limit
RECOVERING = Base(
    name="recovering",
    gate="recovery-crash",
    criteria=(
        "flow.unavailable@fault/*",
        "availability@fault/healthy",
        "budget.burnt",
        "dependency.load",
        "detect.time",
        "converge.time",
        "shared.broken",
        "balances.wrong",
    ),
    scenario={
        "arrivals": {"rate": "100/s", "for": "13 s"},
        "warmup": "1 s",
        "faults": [{"at": "30 %", "for": "45 %", "crash": {"node": "node-b"}}],
    },
    seconds=22.0,
)
# long enough that what does not come back is watched for longer than its limit
RESTORED = Base(
    name="restored",
    gate="recovery-crash",
    criteria=("restored.time", "flow.recovery/*"),
    scenario={
        "arrivals": {"rate": "60/s", "for": "14 s"},
        "warmup": "1 s",
        "faults": [{"at": "35 %", "for": "10 %", "crash": {"node": "node-b"}}],
    },
    seconds=22.0,
)


def _with_defect(name: str) -> Callable[[Tree], Tree]:
    """The same federation, with a defect in every node."""

    def seed(tree: Tree) -> Tree:
        return tree.with_target(federation={**tree.spec["target"]["federation"], "defect": name})

    return seed


# --- the drills -------------------------------------------------------------------------------------------------------


def _drill(base: Base, defect: str, criterion: str, summary: str, probe: Probe, name: str = "", **more: Any) -> Drill:
    seconds: float = more.get("seconds", base.seconds)
    return Drill(name or defect, summary, base, criterion, _with_defect(defect), probe, seconds=seconds)


_ACKNOWLEDGED = sightings.counted(
    sightings.lost, "{struck} jobs were acknowledged too early, and the databases lack {found} of them"
)

DRILLS = (
    _drill(
        CRASH,
        "ack-before-durable",
        "acknowledged.lost",
        "Nodes acknowledge a job before it is synced, and one of them is killed.",
        _ACKNOWLEDGED,
    ),
    _drill(
        CRASH,
        "double-charge",
        "mana.imbalance",
        "Nodes charge a repeated key again.",
        sightings.counted(
            sightings.burned_for_no_job,
            "{struck} repeated keys were charged again, and {found} mana was burned for no completed job",
        ),
    ),
    _drill(
        CRASH,
        "forget-keys",
        "acknowledged.duplicated",
        "Nodes forget which keys they know, and make a second job.",
        sightings.counted(
            sightings.repeated_keys, "{struck} submissions met a forgotten key, and {found} keys have more than one job"
        ),
    ),
    _drill(
        CRASH,
        "stuck-job",
        "jobs.unfinished",
        "Nodes take the receipts of some jobs and put them nowhere.",
        sightings.counted(
            sightings.without_end, "{struck} receipts were put nowhere, and the databases hold {found} jobs without an end"
        ),
        seconds=35.0,
    ),
    _drill(
        CRASH,
        "illegal-transition",
        "transitions.illegal",
        "Nodes assign a job while the bidding on it is open.",
        sightings.counted(
            sightings.jumps, "bidding was not closed {struck} times, and {found} jobs in the databases went on without"
        ),
    ),
    _drill(
        CRASH,
        "double-refund",
        "refunds.wrong",
        "Nodes give back twice what a job did not cost.",
        sightings.counted(
            sightings.apart, "{struck} refunds were given twice, and the ledgers are {found} mana apart from what came in"
        ),
    ),
    _drill(
        CRASH,
        "unverified-receipt",
        "receipts.unverified",
        "Executors sign some receipts with nothing, and nobody looks.",
        sightings.counted(
            sightings.unsigned, "{struck} receipts were not signed, and the block stores hold {found} copies of such"
        ),
    ),
    _drill(
        CRASH,
        "lost-outbox",
        "receipts.missing",
        "Nodes complete a job and don't put its receipt into the outbox.",
        sightings.receipts_missing,
        seconds=16.0,
    ),
    _drill(
        CRASH,
        "skipped-block",
        "roots.diverged",
        "Anti-entropy passes over some blocks.",
        sightings.blocks_apart,
        seconds=60.0,
    ),
    _drill(
        CRASH,
        "refuse-when-peer-down",
        "unavailable@fault/healthy",
        "Nodes refuse jobs while a peer does not answer, so that one failure takes all of them down.",
        sightings.refused("of a peer"),
    ),
    _drill(
        RECOVERY,
        "slow-restart",
        "recovery.time",
        "A node that starts again takes seven seconds before it serves.",
        sightings.overslept,
        seconds=27.0,
    ),
    _drill(
        GOVERNANCE,
        "double-vote",
        "votes.duplicated",
        "The home of a member signs a second vote of it on the same proposal.",
        sightings.counted(
            sightings.double_votes, "{struck} members voted again, and the block stores hold {found} pairs of votes"
        ),
    ),
    _drill(
        GOVERNANCE,
        "wrong-tally",
        "tally.wrong",
        "Every node counts votes against a proposal as votes for it.",
        sightings.counted(
            sightings.against, "{struck} tallies were wrong, of {found} proposals that the block stores hold votes against"
        ),
    ),
    _drill(
        GOVERNANCE,
        "double-spend-on-retry",
        "mana.imbalance",
        "A member that votes again, because it lost the answer, pays its fee again.",
        sightings.counted(
            sightings.burned_for_no_vote,
            "{struck} repeated votes were paid again, and {found} mana was burned for no proposal and no vote",
        ),
    ),
    _drill(
        DEGRADED,
        "ready-always-yes",
        "ready.lied",
        "A node says that it is ready although its ledger takes no writes.",
        sightings.lies,
    ),
    _drill(
        DEGRADED,
        "ack-before-durable",
        "acknowledged.lost",
        "Nodes acknowledge a job before it is written, and the ledger of one of them takes no writes.",
        _ACKNOWLEDGED,
        name="ack-while-locked",
    ),
    _drill(
        ANCHORING,
        "impatient-outbox",
        "receipts.missing",
        "A node gives up the receipts that its block store did not take at once.",
        sightings.receipts_missing,
        seconds=25.0,
    ),
    _drill(
        ANCHORING,
        "blocks-before-jobs",
        "unavailable@fault/faulted",
        "A node refuses jobs while its block store takes no writes, though receipts could wait.",
        sightings.refused("of the block store"),
    ),
    # --- recovery objectives
    _drill(
        RECOVERING,
        "blind-detector",
        "detect.time",
        "A node takes every peer that it ever heard for alive.",
        sightings.told("took a silent peer for alive"),
    ),
    _drill(
        RECOVERING,
        "retry-storm",
        "dependency.load",
        "A node asks a dead peer again and again, without a breaker or a budget.",
        sightings.told("took a silent peer for alive and asked it again"),
    ),
    _drill(
        RECOVERING,
        "refuse-when-peer-down",
        "availability@fault/healthy",
        "Nodes refuse jobs while a peer does not answer, and fewer requests are served than the objective allows.",
        sightings.refused("of a peer"),
        name="unavailable-when-peer-down",
    ),
    _drill(
        RECOVERING,
        "refuse-when-peer-down",
        "flow.unavailable@fault/*",
        "Nodes refuse jobs while a peer does not answer; other flows are served.",
        sightings.refused("of a peer"),
        name="one-flow-down",
    ),
    _drill(
        RECOVERING,
        "refuse-when-peer-down",
        "budget.burnt",
        "Nodes refuse jobs while a peer does not answer, and burn more than their error budget.",
        sightings.refused("of a peer"),
        name="budget-burnt",
    ),
    _drill(
        RECOVERING,
        "skipped-block",
        "converge.time",
        "Anti-entropy passes over some blocks, so that the nodes never agree.",
        sightings.blocks_apart,
        name="never-converged",
        seconds=60.0,
    ),
    _drill(
        RECOVERING,
        "forget-keys",
        "shared.broken",
        "Nodes forget which keys they know, and tell clients of different jobs under one key.",
        sightings.counted(
            sightings.repeated_keys, "{struck} submissions met a forgotten key, and {found} keys have more than one job"
        ),
        name="two-answers-to-one-key",
    ),
    _drill(
        RECOVERING,
        "double-refund",
        "balances.wrong",
        "Nodes give back twice what a job did not cost, and clients read of more mana than there was.",
        sightings.counted(
            sightings.apart, "{struck} refunds were given twice, and the ledgers are {found} mana apart from what came in"
        ),
        name="more-mana-than-there-was",
    ),
    _drill(
        RESTORED,
        "limping-restart",
        "restored.time",
        "A node that was started again takes 0.3 s longer for every job.",
        sightings.told("held up a job after their restart"),
    ),
    _drill(
        RESTORED,
        "slow-restart",
        "flow.recovery/*",
        "A node that starts again takes seven seconds before it serves any flow.",
        sightings.overslept,
        name="no-flow-for-long",
        seconds=30.0,
    ),
    _drill(
        DEGRADED,
        "sticky-refusals",
        "back.time",
        "A node goes on refusing writes for four seconds after its ledger takes them again.",
        sightings.refused_after_the_heal,
    ),
    _drill(
        DEGRADED,
        "stuck-breaker",
        "breaker.stuck",
        "A breaker that has opened asks nobody for a minute whether its dependency is back.",
        sightings.refused_after_the_heal,
    ),
    _drill(
        DEGRADED,
        "stuck-breaker",
        "breaker.closed.time",
        "A breaker that has opened stays open long after its dependency is back.",
        sightings.refused_after_the_heal,
        name="breaker-closes-late",
    ),
    _drill(
        DEGRADED,
        "late-breaker",
        "breaker.open.time",
        "A breaker counts no failure in the first four seconds.",
        sightings.told("passed over a failure"),
    ),
    _drill(
        DEGRADED,
        "no-retry-after",
        "refused.unadvised",
        "A node refuses without a word when to come again.",
        sightings.refused_curtly,
    ),
)
