"""Drills of recovery: nodes that notice nothing, ask the dead again and again, or don't come back as they were.

Reached by the entry point `gates.drills`.
"""

from __future__ import annotations

from gates.model import Base
from gates.node import sightings
from gates.node.drills import DEGRADED, drill

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

DRILLS = (
    drill(
        RECOVERING,
        "blind-detector",
        "detect.time",
        "A node takes every peer that it ever heard for alive.",
        sightings.told("took a silent peer for alive"),
    ),
    drill(
        RECOVERING,
        "retry-storm",
        "dependency.load",
        "A node asks a dead peer again and again, without a breaker or a budget.",
        sightings.told("took a silent peer for alive and asked it again"),
    ),
    drill(
        RECOVERING,
        "refuse-when-peer-down",
        "availability@fault/healthy",
        "Nodes refuse jobs while a peer does not answer, and fewer requests are served than the objective allows.",
        sightings.refused("of a peer"),
        name="unavailable-when-peer-down",
    ),
    drill(
        RECOVERING,
        "refuse-when-peer-down",
        "flow.unavailable@fault/*",
        "Nodes refuse jobs while a peer does not answer; other flows are served.",
        sightings.refused("of a peer"),
        name="one-flow-down",
    ),
    drill(
        RECOVERING,
        "refuse-when-peer-down",
        "budget.burnt",
        "Nodes refuse jobs while a peer does not answer, and burn more than their error budget.",
        sightings.refused("of a peer"),
        name="budget-burnt",
    ),
    drill(
        RECOVERING,
        "skipped-block",
        "converge.time",
        "Anti-entropy passes over some blocks, so that the nodes never agree.",
        sightings.blocks_apart,
        name="never-converged",
        seconds=60.0,
    ),
    drill(
        RECOVERING,
        "forget-keys",
        "shared.broken",
        "Nodes forget which keys they know, and tell clients of different jobs under one key.",
        sightings.counted(
            sightings.repeated_keys, "{struck} submissions met a forgotten key, and {found} keys have more than one job"
        ),
        name="two-answers-to-one-key",
    ),
    drill(
        RECOVERING,
        "double-refund",
        "balances.wrong",
        "Nodes give back twice what a job did not cost, and clients read of more mana than there was.",
        sightings.counted(
            sightings.apart, "{struck} refunds were given twice, and the ledgers are {found} mana apart from what came in"
        ),
        name="more-mana-than-there-was",
    ),
    drill(
        RESTORED,
        "limping-restart",
        "restored.time",
        "A node that was started again takes 0.3 s longer for every job.",
        sightings.told("held up a job after their restart"),
    ),
    drill(
        RESTORED,
        "slow-restart",
        "flow.recovery/*",
        "A node that starts again takes seven seconds before it serves any flow.",
        sightings.overslept,
        name="no-flow-for-long",
        seconds=30.0,
    ),
    drill(
        DEGRADED,
        "sticky-refusals",
        "back.time",
        "A node goes on refusing writes for four seconds after its ledger takes them again.",
        sightings.refused_after_the_heal,
    ),
    drill(
        DEGRADED,
        "stuck-breaker",
        "breaker.stuck",
        "A breaker that has opened asks nobody for a minute whether its dependency is back.",
        sightings.refused_after_the_heal,
    ),
    drill(
        DEGRADED,
        "stuck-breaker",
        "breaker.closed.time",
        "A breaker that has opened stays open long after its dependency is back.",
        sightings.refused_after_the_heal,
        name="breaker-closes-late",
    ),
    drill(
        DEGRADED,
        "late-breaker",
        "breaker.open.time",
        "A breaker counts no failure in the first four seconds.",
        sightings.told("passed over a failure"),
    ),
    drill(
        DEGRADED,
        "no-retry-after",
        "refused.unadvised",
        "A node refuses without a word when to come again.",
        sightings.refused_curtly,
    ),
)
