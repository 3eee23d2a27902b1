"""All of a node's Prometheus families, in a registry of its own; each section belongs to the module that counts in it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest

from gates.node.metrics_dag import DagMetrics
from gates.node.metrics_federation import FederationMetrics
from gates.node.metrics_governance import GovernanceMetrics
from gates.node.metrics_jobs import JobMetrics
from gates.node.metrics_mesh import MeshMetrics
from gates.node.metrics_runtime import RuntimeMetrics
from gates.recovery.prometheus import Collector


class Metrics:
    """Everything that one node counts.

    Attributes:
        recovery: counts what happens to the breakers and retries that it is told to watch.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.runtime = RuntimeMetrics(self.registry)
        self.mesh = MeshMetrics(self.registry)
        self.jobs = JobMetrics(self.registry)
        self.dag = DagMetrics(self.registry)
        self.governance = GovernanceMetrics(self.registry)
        self.federation = FederationMetrics(self.registry)
        self.recovery = Collector()
        self.registry.register(self.recovery)

    def text(self) -> bytes:
        """All families in the Prometheus text format."""
        return generate_latest(self.registry)
