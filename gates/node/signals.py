"""What a node's metrics say of faults. Reached by the entry point `gates.signals`."""

from __future__ import annotations

from gates.model import Signals

SIGNALS = Signals(
    path="/metrics",
    noticed=('icn_peer_state{peer="{node}",state="suspect"}', 'icn_peer_state{peer="{node}",state="down"}'),
    noticed_itself=(
        'icn_degraded{mode="read_only"}',
        'icn_degraded{mode="stale_balances"}',
        'icn_degraded{mode="receipts_wait"}',
        'icn_degraded{mode="no_blocks"}',
        'icn_peer_state{state="suspect"}',
        'icn_peer_state{state="down"}',
    ),
    breaker_state="recovery_breaker_state",
    breaker_transitions="recovery_breaker_transitions_total",
    calls='icn_peer_attempts_total{peer="{node}"}',
)
