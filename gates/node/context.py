"""The resilient runtime: every operation of the node on a dependency goes through a breaker, and is repeated only where that is
harmless.

What the original only declares is on the path of every request here. A breaker opens for failures of the infrastructure alone:
too little mana or an unknown job is an answer. Writes and reads of a database have breakers of their own, because they fail
apart. Submissions and spends carry a key under which the ledger carries them out once, so that they may be repeated.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from gates.node import jobbook, jobpages, ledger
from gates.node.classification import NodeClassifier
from gates.node.errors import Refusal, StoreUnavailable
from gates.node.guarded import GuardedStorage
from gates.node.http import load_json
from gates.node.ledger import Account
from gates.node.metrics_runtime import RuntimeMetrics
from gates.node.storage import Storage
from gates.node.submission import Submission, make_submission
from gates.recovery import (
    BreakerRegistry,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ErrorRecoveryConfig,
    Retry,
    RetryBudget,
)

MOST_REMEMBERED = 10_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preset:
    """The figures of retries and of the breakers of the node's own databases.

    A database on the own disk is cheap to ask, so its breakers are open for half a second to one, where the original's were
    for 30: all is back within two seconds of the database, on a busy machine, too.
    """

    retry: ErrorRecoveryConfig
    breaker: CircuitBreakerConfig


PRESETS: Mapping[str, Preset] = {
    "production": Preset(
        ErrorRecoveryConfig.production(), CircuitBreakerConfig(5, 0.5, 1, break_multiplier=2.0, max_recovery_timeout=1.0)
    ),
    "development": Preset(ErrorRecoveryConfig.development(), CircuitBreakerConfig(3, 0.5, 1)),
    "testing": Preset(ErrorRecoveryConfig.testing(), CircuitBreakerConfig(2, 0.1, 1)),
}


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has.

    Attributes:
        account: as it was last settled.
        available: mana that could be spent when it was read.
        age: seconds since it was read, when the ledger can't be read now; else None.
    """

    account: Account
    available: int
    age: float | None = None


class Receipts(Protocol):
    """Takes an executor's receipt: the job is completed and the receipt put into the outbox, in one transaction."""

    def __call__(self, receipt: Any, /) -> Awaitable[str]: ...


class ResilientRuntimeContext:
    """What handlers and tasks reach ledger, jobs and blocks through.

    Attributes:
        ledger: accounts, behind the breakers `mana` and `ledger_read`.
        jobs: the same database for jobs, behind `job` and `ledger_read`.
        dag: the blocks, behind `dag` and `dag_read`.
        breakers: those five, by name.
        budget: what all retries are paid from.
        peers: the breakers of the peers, once there are any.
        receipts: what takes receipts, once there is a lifecycle.
    """

    def __init__(
        self,
        ledger_store: Storage,
        dag_store: Storage,
        *,
        owner: str,
        preset: str = "production",
        metrics: RuntimeMetrics,
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        **seams: Any,
    ) -> None:
        figures = PRESETS[preset]
        self.owner, self._now, self._metrics = owner, now, metrics
        classifier = NodeClassifier()
        names = ("mana", "job", "dag", "ledger_read", "dag_read")
        self.breakers = {name: CircuitBreaker(name, figures.breaker, classifier=classifier, clock=clock) for name in names}
        self.ledger = self._guarded(ledger_store, "mana", "ledger_read")
        self.jobs = self._guarded(ledger_store, "job", "ledger_read")
        self.dag = self._guarded(dag_store, "dag", "dag_read")
        self.budget = RetryBudget()
        self.retry = Retry(
            figures.retry.max_retries + 1,
            figures.retry.backoff(),
            classifier=classifier,
            budget=self.budget,
            reraise=True,
            service="node",
            **seams,
        )
        self.peers: BreakerRegistry | None = None
        self.receipts: Receipts | None = None
        self._seen: OrderedDict[str, tuple[Balance, int]] = OrderedDict()
        self._repeated = self.retry(_run)

    def _guarded(self, store: Storage, writes: str, reads: str) -> GuardedStorage:
        return GuardedStorage(store, writes=self.breakers[writes], reads=self.breakers[reads])

    async def _resilient(self, operation: str, act: Callable[[], Awaitable[T]]) -> T:
        """*act*, which must be harmless to repeat, repeated as the preset says."""
        try:
            answer: T = await self._repeated(act)
        except Exception as error:
            self._metrics.operations.labels(operation, "refused" if isinstance(error, Refusal) else "failed").inc()
            raise
        self._metrics.operations.labels(operation, "done").inc()
        return answer

    # --- mana ---------------------------------------------------------------------------------------------------------

    async def spend_mana_resilient(self, account: str, amount: int, *, key: str | None = None) -> None:
        """Burn *amount* of *account*, once a *key*. Raises Refusal (402, 404, 422) and FAILURES."""
        once = f"spend:{key or secrets.token_hex(16)}"
        spend = self.ledger.write
        await self._resilient("spend_mana", lambda: spend(lambda tx: ledger.spend(tx, account, amount, once, self._now())))

    async def get_mana_resilient(self, account: str) -> int:
        """The mana that *account* can spend; an old figure when the ledger can't be read. Raises Refusal with 404."""
        return (await self.balance_resilient(account)).available

    async def balance_resilient(self, account: str) -> Balance:
        """What *account* has; when the ledger can't be read, what it had when it was last read, with its age.

        Raises Refusal with 404 for an unknown account, and StoreUnavailable when there is nothing to fall back on.
        """
        try:
            found = ledger.account(self.ledger.read, account)
        except StoreUnavailable:
            return self._stale(account)
        self._metrics.operations.labels("get_mana", "done").inc()
        if found is None:
            raise Refusal(404, f"no account {account}")
        balance = Balance(found, ledger.balance_at(found, self._now()))
        self.remember(balance)
        return balance

    def remember(self, balance: Balance) -> None:
        """Keep *balance* for the time when the ledger can't be read."""
        did = balance.account.did
        self._seen[did] = balance, self._now()
        self._seen.move_to_end(did)
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)

    def _stale(self, account: str) -> Balance:
        seen = self._seen.get(account)
        if seen is None:
            self._metrics.operations.labels("get_mana", "failed").inc()
            raise StoreUnavailable("the ledger can't be read now, and this balance was not read before")
        self._metrics.operations.labels("get_mana", "stale").inc()
        balance, at = seen
        return Balance(balance.account, balance.available, max(0, self._now() - at) / 1000)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def submit_job_resilient(
        self, manifest_cid: str, spec_bytes: bytes, cost_mana: int, *, owner: str | None = None, key: str | None = None
    ) -> str:
        """Submit a job whose specification is the JSON in *spec_bytes*; its id. The same content is the same job."""
        submission = make_submission(manifest_cid, load_json(spec_bytes, "spec_bytes"), cost_mana, key)
        return (await self.submit_resilient(owner or self.owner, submission)).job

    async def submit_resilient(self, owner: str, submission: Submission) -> jobbook.Receipted:
        """Reserve the cost and write the job down. Raises Refusal (402, 404, 409) and FAILURES."""
        write = self.jobs.write
        return await self._resilient("submit_job", lambda: write(lambda tx: jobbook.submit(tx, owner, submission, self._now())))

    async def get_job_status_resilient(self, job_id: str) -> dict[str, Any] | None:
        """The job and its history, or None. Raises StoreUnavailable."""

        async def read() -> dict[str, Any] | None:
            return jobpages.job(self.jobs.read, job_id)

        return await self._resilient("get_job_status", read)

    async def anchor_receipt_resilient(self, receipt: Mapping[str, Any]) -> str:
        """The CID of *receipt*, which is durable in the outbox, and in the block store as soon as that takes it.

        Raises Refusal (403, 404, 409, 422) and FAILURES.
        """
        take = self.receipts
        if take is None:
            raise Refusal(503, "this node is not started yet", retry_after=1)
        return await self._resilient("anchor_receipt", lambda: take(receipt))

    # --- breakers -----------------------------------------------------------------------------------------------------

    def get_circuit_breaker_status(self) -> dict[str, Any]:
        """Whether the breakers of the original are open, and all of them in detail. Looking changes nothing."""
        named = {
            f"{name}_circuit_open": self.breakers[name].state is not CircuitState.CLOSED for name in ("mana", "dag", "job")
        }
        peers = {f"peer {breaker.name}": breaker for breaker in self.peers or ()}
        every = {**self.breakers, **peers}
        return {**named, "breakers": {name: _shown(breaker) for name, breaker in every.items()}}

    def reset_circuit_breakers(self) -> None:
        """Close all of them."""
        for breaker in (*self.breakers.values(), *(self.peers or ())):
            breaker.reset()
        self._metrics.resets.inc()


async def _run(act: Callable[[], Awaitable[T]]) -> T:
    return await act()


def _shown(breaker: CircuitBreaker) -> dict[str, Any]:
    seen = breaker.snapshot()
    shown: dict[str, Any] = {"state": str(seen.state), "failures": seen.failures}
    if seen.state is not CircuitState.CLOSED:
        shown |= {"retry_after": round(seen.retry_after, 3), "last_failure": seen.last_failure}
    return shown
