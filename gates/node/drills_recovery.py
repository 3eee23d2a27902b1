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
        "pins.broken",
        "pins.stale",
        "blocks.apart",
        "jobs.gone",
        "effects.wrong",
        "jobs.open",
    ),
    scenario={
        "arrivals": {"rate": "100/s", "for": "13 s"},
        "warmup": "1 s",
        "faults": [{"at": "30 %", "for": "45 %", "crash": {"node": "node-b"}}],
    },
    seconds=22.0,
)
POWER = Base(
    name="power",
    gate="recovery-power-cut",
    criteria=("acknowledged.lost",),
    scenario={
        "arrivals": {"rate": "100/s", "for": "8 s"},
        "mix": {"submit_job": 8, "read_mana": 2},
        "warmup": "1 s",
        "faults": [{"at": "45 %", "for": "25 %", "power-cut": {"node": "node-b"}}],
    },
    seconds=16.0,
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

_REPEATED = sightings.counted(
    sightings.repeated_keys, "{struck} submissions met a forgotten key, and {found} keys have more than one job"
)
_REMEMBERED = sightings.told("told what a pin had been")

DRILLS = (
    drill(
        POWER,
        "commit-without-sync",
        "acknowledged.lost",
        "Nodes commit without a sync, and the power of one of them is cut.",
        sightings.lost_at_the_cut,
    ),
    drill(
        RECOVERING,
        "stale-pins",
        "pins.broken",
        "A node tells for five seconds what a pin was, so that reads and writes fit into no order.",
        _REMEMBERED,
    ),
    drill(
        RECOVERING,
        "stale-pins",
        "pins.stale",
        "A node tells for five seconds what a pin was, without a word of how old that is.",
        _REMEMBERED,
        name="old-without-a-word",
    ),
    drill(
        RECOVERING,
        "skipped-block",
        "blocks.apart",
        "Anti-entropy passes over some blocks, so that the nodes hold different ones.",
        sightings.blocks_apart,
        name="blocks-apart",
        seconds=60.0,
    ),
    drill(
        RECOVERING,
        "ack-before-durable",
        "jobs.gone",
        "Nodes acknowledge a job before it is synced, and no node holds it after a kill.",
        sightings.counted(sightings.lost, "{struck} jobs were acknowledged too early, and the databases lack {found} of them"),
        name="jobs-gone",
    ),
    drill(
        RECOVERING,
        "forget-keys",
        "effects.wrong",
        "Nodes forget which keys they know, and a key has two effects.",
        _REPEATED,
        name="two-effects-of-one-key",
    ),
    drill(
        RECOVERING,
        "stuck-job",
        "jobs.open",
        "Nodes take the receipts of some jobs and put them nowhere, so that these are open for ever.",
        sightings.counted(
            sightings.without_end, "{struck} receipts were put nowhere, and the databases hold {found} jobs without an end"
        ),
        name="open-for-ever",
        seconds=60.0,
    ),
    drill(
        DEGRADED,
        "stale-while-locked",
        "stale.answers",
        "A node whose ledger takes no writes tells old balances.",
        sightings.old_answers,
    ),
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
        "sticky-refusals",
        "recovery.time",
        "A node whose ledger takes writes again goes on refusing them, and is not back in time.",
        sightings.refused_after_the_heal,
        name="back-late",
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
