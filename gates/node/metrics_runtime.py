"""What the server, the stores and the resilient context count; requests are counted in `traffic`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BYTES = (64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)
_CHANGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class RuntimeMetrics:
    """The families of requests, storage, health and degradation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests(registry)
        self._storage(registry)
        self._health(registry)
        self._resilience(registry)

    def _requests(self, registry: CollectorRegistry) -> None:
        self.in_flight = Gauge("icn_requests_in_flight", "Requests under way", registry=registry)
        self.bodies = Histogram("icn_request_body_bytes", "Size of bodies", buckets=_BYTES, registry=registry)
        self.held = Gauge("icn_request_bodies_held_bytes", "Bytes of bodies that are in memory", registry=registry)
        self.interrupted = Counter(
            "icn_requests_interrupted", "Requests ended by their time: deadline, slow_body", ["why"], registry=registry
        )
        self.connections = Gauge("icn_connections", "Connections that are open", registry=registry)
        self.opened = Counter("icn_connections_opened", "Connections that were opened", registry=registry)

    def _storage(self, registry: CollectorRegistry) -> None:
        self.commits = Histogram(
            "icn_storage_commit_duration_seconds", "Time of a commit", ["database"], buckets=_SECONDS, registry=registry
        )
        self.batches = Histogram(
            "icn_storage_commit_changes", "Changes in a commit", ["database"], buckets=_CHANGES, registry=registry
        )
        self.waiting = Gauge("icn_storage_waiting_changes", "Changes that wait for the writer", ["database"], registry=registry)
        self.file = Gauge("icn_storage_file_bytes", "Size of a database and its log", ["database"], registry=registry)

    def _health(self, registry: CollectorRegistry) -> None:
        self.probes = Counter(
            "icn_health_probes", "Probes of dependencies by outcome", ["dependency", "outcome"], registry=registry
        )
        self.probing = Histogram(
            "icn_health_probe_duration_seconds", "Time of a probe", ["dependency"], buckets=_SECONDS, registry=registry
        )
        self.ready = Gauge("icn_ready", "1 when the node was ready as it was last asked", registry=registry)
        self.uptime = Gauge("icn_uptime_seconds", "Time since the process started", registry=registry)
        self.startup = Gauge("icn_startup_duration_seconds", "Time from the start to serving", registry=registry)
        self.lag = Histogram("icn_event_loop_lag_seconds", "How late timers are", buckets=_SECONDS, registry=registry)

    def _resilience(self, registry: CollectorRegistry) -> None:
        self.operations = Counter(
            "icn_resilient_operations", "Resilient operations by outcome", ["operation", "outcome"], registry=registry
        )
        self.shed = Counter("icn_requests_shed", "Requests refused for load, by importance", ["importance"], registry=registry)
        self.limit = Gauge("icn_concurrency_limit", "Requests of a class that may be under way", ["class"], registry=registry)
        self.degraded = Gauge("icn_degraded", "1 while the node is degraded in this way", ["mode"], registry=registry)
        self.degradations = Counter("icn_degradations", "Times that a degradation began", ["mode"], registry=registry)
        self.refused_writes = Counter("icn_read_only_refusals", "Writes refused in read-only mode", registry=registry)
        self.resets = Counter("icn_breaker_resets", "Times that an operator closed the breakers", registry=registry)
