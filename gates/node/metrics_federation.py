"""Metrics of what comes from other machines: who asks, and how the peers are."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SHORT = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01)


class FederationMetrics:
    """The families of membership, peer calls and authentication."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.authentications = Counter(
            "icn_authentications", "Requests by proof of who asks, and its outcome", ["kind", "outcome"], registry=registry
        )
        self.verification = Histogram(
            "icn_signature_verification_duration_seconds", "Time to check a signed request", buckets=_SHORT, registry=registry
        )
        self.nonces = Gauge("icn_signature_nonces", "Nonces that are remembered", registry=registry)
        self.limited = Counter("icn_rate_limited", "Requests refused with 429, by kind of client", ["kind"], registry=registry)
        self.clients = Gauge("icn_rate_limit_clients", "Clients whose rate is tracked", registry=registry)
        self.calls = Counter("icn_peer_calls", "Calls to peers by outcome", ["peer", "outcome"], registry=registry)
        self.call_time = Histogram(
            "icn_peer_call_duration_seconds",
            "Time of a call to a peer, retries included",
            ["peer"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.attempts = Counter("icn_peer_attempts", "Requests sent to peers, retries included", ["peer"], registry=registry)
        self.in_flight = Gauge("icn_peer_calls_in_flight", "Calls to peers under way", registry=registry)
        self.sent = Counter("icn_peer_sent_bytes", "Bytes of bodies sent to peers", ["peer"], registry=registry)
        self.received = Counter("icn_peer_received_bytes", "Bytes of bodies received from peers", ["peer"], registry=registry)
        self.probe_time = Histogram(
            "icn_peer_probe_duration_seconds",
            "Time in which a peer's /health answered",
            ["peer"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.state = Gauge("icn_peer_state", "1 for the state that a peer is in", ["peer", "state"], registry=registry)
        self.changes = Counter("icn_peer_state_changes", "Changes to a state", ["peer", "state"], registry=registry)
        self.members = Gauge(
            "icn_federation_members", "Members of the federation that this node knows, itself included", registry=registry
        )
        self.records = Counter(
            "icn_federation_records", "Membership records by what became of them", ["outcome"], registry=registry
        )
        self.handshakes = Counter("icn_peer_handshakes", "Handshakes by outcome", ["peer", "outcome"], registry=registry)
