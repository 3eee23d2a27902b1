"""The node's Prometheus families, each updated on a real path."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Everything that one node counts, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("icn_requests", "HTTP requests by path and code", ["path", "code"], registry=self.registry)
        self.latency = Histogram(
            "icn_request_duration_seconds", "Time to answer", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.submissions = Counter(
            "icn_job_submissions", "Answered submissions: new, repeated, refused, failed", ["outcome"], registry=self.registry
        )
        self.executions = Counter("icn_jobs_executed", "Jobs executed by this process", registry=self.registry)
        self.jobs = Gauge("icn_jobs", "Stored jobs by status", ["status"], registry=self.registry)
        self.minted = Gauge("icn_mana_minted", "Mana minted for the node's account", registry=self.registry)
        self.balance = Gauge("icn_mana_balance", "Mana left in the node's account", registry=self.registry)
        self.commits = Histogram("icn_commit_duration_seconds", "Time of a commit", buckets=_SECONDS, registry=self.registry)
        self.batches = Histogram(
            "icn_commit_batch_size",
            "Changes in a commit",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=self.registry,
        )
        self.peers = Gauge("icn_peer_up", "Whether a peer answered the last poll", ["peer"], registry=self.registry)
        self.uptime = Gauge("icn_uptime_seconds", "Time since the process started", registry=self.registry)

    def committed(self, changes: int, seconds: float) -> None:
        """Count one commit."""
        self.batches.observe(changes)
        self.commits.observe(seconds)

    def text(self) -> bytes:
        """All families in the Prometheus text format."""
        return generate_latest(self.registry)
