"""What the job book, the ledger and their part of the interface count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gates.node import jobbook, ledger
from gates.node.errors import FAILURES, Refusal
from gates.node.ledger import Read

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COSTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_BYTES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
_JOBS = (0, 1, 10, 100, 1000)


class MeshMetrics:
    """The families of jobs and mana, all on *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"icn_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"icn_{name}", text, registry=registry, buckets=buckets)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"icn_{name}", text, labels, registry=registry)

        self.submissions = counter("job_submissions", "Answered submissions: new, repeated, refused, failed.", "outcome")
        self.refusals = counter("job_refusals", "Submissions that were refused, by code.", "code")
        self.submission_seconds = histogram("job_submission_seconds", "From a submission to its durable answer.", _SECONDS)
        self.cost = histogram("job_cost_mana", "Mana reserved for a new job.", _COSTS)
        self.spec_bytes = histogram("job_spec_bytes", "Size of the specification of a new job.", _BYTES)
        self.cancellations = counter("job_cancellations", "Requests to cancel a job: done, refused, failed.", "outcome")
        self.receipts = counter("job_receipts", "Receipts that clients brought: done, refused, failed.", "outcome")
        self.reads = counter("job_reads", "Jobs asked for by id: found, unknown.", "outcome")
        self.page_jobs = histogram("job_page_jobs", "Jobs in one page of the list.", _JOBS)
        self.jobs = gauge("jobs", "Jobs in the book, by status.", "status")
        self.opened = counter("account_openings", "Requests to open an account: new, known, refused, failed.", "outcome")
        self.balances = counter("account_balance_reads", "Balances asked for: fresh, stale, refused, failed.", "outcome")
        self.misdirected = counter("account_misdirected", "Requests for an account whose home is another node.", "home")
        self.accounts = gauge("accounts", "Accounts at home on this node.")
        self.mana = gauge("mana", "Mana of all accounts: minted, regenerated, burned, balances, reserved.", "kind")
        self.audits = counter("ledger_audits", "Audits of the ledger: balanced, imbalanced.", "outcome")
        self.audit_seconds = histogram("ledger_audit_seconds", "Time of an audit.", _SECONDS)

    def refresh(self, read: Read) -> None:
        """Bring the gauges up to what the ledger's database holds. Raises StoreUnavailable."""
        for status, number in jobbook.counts(read).items():
            self.jobs.labels(status).set(number)
        sums = ledger.audit(read)
        self.accounts.set(sums["accounts"])
        for kind in ("minted", "regenerated", "burned", "balances", "reserved"):
            self.mana.labels(kind).set(sums[kind])


@contextmanager
def unhappy(counter: Counter) -> Iterator[None]:
    """Count what is refused and what fails; who is served counts that."""
    try:
        yield
    except Refusal:
        counter.labels("refused").inc()
        raise
    except FAILURES:
        counter.labels("failed").inc()
        raise
