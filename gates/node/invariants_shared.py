"""Invariants over what clients contend for: keys that many of them submit under, and balances that change while they are read.

They stand on the generic checkers, as those of any other target would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gates.history.access import Declared
from gates.history.declared import Converged, EveryItemEnds, Items, Linearizable, NothingLost, NotStale, OneEffect
from gates.model import Fetch, InvariantOutcome, Operation
from gates.node.invariants import census, named, spec, table

FEWEST_SUBMISSIONS = 20
FEWEST_READS = 20
FEES = 100
"""More than what proposals and votes of one operation can cost together."""

SHARED_KEYS = Linearizable(
    "shared-keys-linearizable",
    "shared.broken",
    Declared(key=("endpoint", "value.key"), claims={"submit_shared": "answer.job_id"}),
    at_least=FEWEST_SUBMISSIONS,
)
"""Whoever submits under a key that others use too is told of the one job that is there, whatever happens meanwhile."""


PINS = Declared(
    key=("endpoint", "value.block"),
    writes={"pin_shared": "value.pinned", "unpin_shared": "value.pinned"},
    reads={"read_pin": "answer.pinned"},
)
"""Whether a block is pinned on a node: a value that many clients write and read."""
PINS_LINEARIZABLE = Linearizable("pins-linearizable", "pins.broken", PINS, initial="false", at_least=FEWEST_READS)
PINS_FRESH = NotStale("pins-fresh", "pins.stale", PINS, initial="false", at_least=FEWEST_READS)

BLOCKS = Items("/dag/blocks", items="blocks", more="next", key="cid")
BLOCKS_CONVERGE = Converged("blocks-converge", "blocks.apart", BLOCKS, within=20.0)

JOBS = Items("/mesh/jobs", "jobs", "next", key="idempotency_key", state="status", final=("Completed", "Failed", "Cancelled"))
JOBS_KEPT = NothingLost("acknowledged-jobs-are-held", "jobs.gone", JOBS, flows=("submit_job",), at_least=FEWEST_READS)
ONE_EFFECT = OneEffect(
    "one-effect-a-key", "effects.wrong", JOBS, flows=("submit_job",), shared="value.key", at_least=FEWEST_READS
)
JOBS_END = EveryItemEnds("jobs-come-to-an-end", "jobs.open", JOBS)


class BalancesInBounds:
    """A balance that a client read lies between what surely was there and what every wish of clients could have left of it, and
    never below nothing.

    An old balance that tells its age is measured by what had been wished for when it was read later, which bounds it as well.
    """

    name = "balances-in-bounds"
    summary = "No read balance is above what was there, or below what all that clients asked for could have left."
    metrics = (spec("balances.wrong", "Balances that clients read and that can't have been", FEWEST_READS),)

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """The balance of every node's own account."""
        return {name: fetch(name, "/account/me/mana")["balance"] for name in endpoints}

    def check(self, history: Sequence[Operation], before: Any, _after: Any) -> InvariantOutcome:
        """Add up, in order of invocation, what had been asked for; pure."""
        spent = dict.fromkeys(before, 0)
        reads, wrong = 0, []
        for when, is_read, operation in sorted(_events(history), key=lambda event: event[:2]):
            if not is_read:
                spent[operation.endpoint] += _cost(operation)
                continue
            reads += 1
            least, most = max(0, before[operation.endpoint] - spent[operation.endpoint]), before[operation.endpoint]
            balance = int(operation.answer["balance"])
            if not least <= balance <= most:
                wrong.append(f"{operation.endpoint} at {when:.3f} s: {balance:,}, not from {least:,} to {most:,}")
        rows = (("balances read", reads), ("of which can't have been", len(wrong)))
        return InvariantOutcome(
            census("balances.wrong", len(wrong), reads),
            table("Balances as clients read them", ("what", "count"), rows),
            named("balances that can't have been", wrong),
        )


def _events(history: Sequence[Operation]) -> list[tuple[float, bool, Operation]]:
    """Wishes when they were sent, and balances when they were told; what surely had no effect costs nothing."""
    wishes = [(each.invoked, False, each) for each in history if each.status != "fail" and _cost(each)]
    reads = [
        (each.completed, True, each)
        for each in history
        if each.kind == "read_mana" and each.status == "ok" and isinstance(each.answer, Mapping) and "balance" in each.answer
    ]
    return [*wishes, *reads]


def _cost(operation: Operation) -> int:
    """The most that *operation* can take from the account of its node."""
    value = operation.value if isinstance(operation.value, Mapping) else {}
    return int(value.get("cost_mana", FEES if operation.kind in ("propose", "vote", "vote_against") else value.get("cost", 0)))
