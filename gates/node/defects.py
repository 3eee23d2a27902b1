"""Seeded defects for drills: `python -m gates.node.defects NAME -- ARGUMENTS` changes the node, then starts it.

The node itself holds no defect. Each one writes what it did to `{data}/defect.jsonl`, a line with the time and whom it struck,
so that a drill can tell a defect that was triggered from one that never had its effect.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gates.node import defects_federation, defects_growth, defects_jobs, defects_power, defects_recovery
from gates.node.defects_tell import Tell, teller

DEFECTS: Mapping[str, Callable[[Tell], None]] = {
    defect.__name__.replace("_", "-"): defect
    for defect in (
        defects_jobs.ack_before_durable,
        defects_federation.blocks_before_jobs,
        defects_power.commit_without_sync,
        defects_jobs.double_charge,
        defects_jobs.double_refund,
        defects_jobs.double_spend_on_retry,
        defects_federation.double_vote,
        defects_jobs.forget_keys,
        defects_jobs.illegal_transition,
        defects_federation.impatient_outbox,
        defects_federation.lost_outbox,
        defects_federation.ready_always_yes,
        defects_federation.refuse_when_peer_down,
        defects_federation.skipped_block,
        defects_federation.slow_restart,
        defects_jobs.stuck_job,
        defects_jobs.unverified_receipt,
        defects_federation.wrong_tally,
        defects_growth.connection_leak,
        defects_growth.hoarded_bodies,
        defects_growth.memory_leak,
        defects_recovery.blind_detector,
        defects_recovery.late_breaker,
        defects_recovery.limping_restart,
        defects_recovery.no_retry_after,
        defects_recovery.retry_storm,
        defects_recovery.sticky_refusals,
        defects_recovery.stale_pins,
        defects_recovery.stale_while_locked,
        defects_recovery.stuck_breaker,
    )
}


def main(arguments: Sequence[str]) -> int:
    """Put the named defect in and run the node with the arguments behind `--`."""
    if len(arguments) < 2 or arguments[0] not in DEFECTS or arguments[1] != "--":
        sys.stderr.write(f"expected NAME -- NODE ARGUMENTS, where NAME is one of {', '.join(DEFECTS)}\n")
        return 2
    name, rest = arguments[0], arguments[2:]
    DEFECTS[name](teller(_folder(rest), name))

    from gates.node import __main__ as command

    return command.main(rest)


def _folder(arguments: Sequence[str]) -> Path:
    from gates.node.settings import parse

    return parse(arguments).data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
