"""What the bidding, the execution and the lifecycle of jobs measure."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class JobMetrics:
    """The families of this part, all on *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"icn_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"icn_{name}", text, labels, registry=registry, buckets=buckets)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"icn_{name}", text, registry=registry)

        self.rounds = counter("bidding_rounds", "Rounds of bidding that this node has held.")
        self.round_jobs = histogram("bidding_round_jobs", "Jobs in one round of bidding.", _SIZES)
        self.round_seconds = histogram("bidding_round_seconds", "From the opening of a round to its selection.", _SHORT)
        self.waiting = gauge("bidding_waiting_jobs", "Jobs that wait for the next round of bidding.")
        self.asked = counter("bidding_requests", "Requests for bids to peers, by what came of them.", "outcome")
        self.bids = counter("bidding_bids", "Bids on jobs of this node, its own and those of peers.", "from")
        self.sheets = counter("bidding_sheets", "Sheets of bids that this node has signed for others.")
        self.assigned = counter("lifecycle_assignments", "Jobs that were assigned to an executor.", "to")
        self.ordered = counter("execution_requests", "Batches of jobs sent to executors, by what came of them.", "outcome")
        self.executions = counter("execution_jobs", "Jobs that this node has carried out.", "kind", "outcome")
        self.seconds = histogram("execution_seconds", "Wall clock of carrying out one job.", _LONG, "kind")
        self.cpu = counter("execution_cpu_seconds", "Processor time of jobs that compute.", "kind")
        self.computing = gauge("execution_computing_jobs", "Jobs with a process of their own, running or waiting for a place.")
        self.receipts = counter("lifecycle_receipts", "Receipts for jobs of this node, accepted and refused.", "outcome")
        self.ended = counter("lifecycle_ended_jobs", "Jobs of this node that came to their end with an executor.", "outcome")
        self.job_seconds = histogram("lifecycle_job_seconds", "From the offer of a job to its end.", _LONG)
        self.job_rounds = histogram("lifecycle_job_rounds", "Rounds of bidding until a job ended.", (1, 2, 3))
