"""The resilient context over a real ledger whose failures are in our hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gates.node import jobbook, ledger
from gates.node.classification import NodeClassifier
from gates.node.context import PRESETS, ResilientRuntimeContext
from gates.node.degradation import Degradation
from gates.node.errors import Refusal, StoreUnavailable, Undecided
from gates.node.guarded import StoreBroken
from gates.node.metrics_runtime import RuntimeMetrics
from gates.node.schema import DAG_MIGRATIONS, LEDGER_MIGRATIONS
from gates.node.storage import SqliteStorage
from gates.recovery import CircuitState, Outcome

OWNER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
ECHO = b'{"kind": {"Echo": {"payload": "hello"}}}'
START = 1_800_000_000_000


class Fallible(SqliteStorage):
    """A real store that fails when it is told to; *lost* answers are those of changes that were carried out."""

    failing = lost = 0
    unreadable = False
    writes = reads = 0

    async def write(self, change: Any) -> Any:
        self.writes += 1
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("locked")
        answer = await super().write(change)
        if self.lost:
            self.lost -= 1
            raise Undecided("the commit failed, and the outcome is unknown")
        return answer

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        self.reads += 1
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        return super().read(statement, parameters)


class Surroundings:
    """A context with what it stands on."""

    def __init__(self, folder: Path) -> None:
        self.time, self.paused = START, 0.0
        self.store = Fallible(folder / "ledger.db", LEDGER_MIGRATIONS)
        self.dag = SqliteStorage(folder / "dag.db", DAG_MIGRATIONS)
        self.registry = CollectorRegistry()
        metrics = RuntimeMetrics(self.registry)
        self.context = ResilientRuntimeContext(
            self.store,
            self.dag,
            owner=OWNER,
            preset="testing",
            metrics=metrics,
            now=lambda: self.time,
            clock=lambda: self.time / 1000,
            sleep_async=self.pause,
        )

    async def pause(self, seconds: float) -> None:
        self.paused += seconds

    def state(self, name: str) -> CircuitState:
        return self.context.breakers[name].state

    def count(self, operation: str, outcome: str) -> float:
        labels = {"operation": operation, "outcome": outcome}
        return self.registry.get_sample_value("icn_resilient_operations_total", labels) or 0.0

    async def submit(self, key: str = "key", cost: int = 10) -> str:
        return await self.context.submit_job_resilient("bafymanifest", ECHO, cost, key=key)


def around(folder: Path, test: Callable[[Surroundings], Awaitable[None]], mana: int = 1000) -> None:
    """Run *test* with the account of OWNER open."""

    async def run() -> None:
        surroundings = Surroundings(folder)
        for store in (surroundings.store, surroundings.dag):
            store.open()
            store.start()
        await surroundings.store.write(lambda tx: ledger.establish(tx, OWNER, mana, mana, START))
        surroundings.store.writes = 0
        try:
            await test(surroundings)
        finally:
            surroundings.store.close()
            surroundings.dag.close()

    asyncio.run(run())


def test_a_write_that_failed_is_repeated_and_done_once(tmp_path: Path) -> None:
    """One failure costs a pause and nothing else."""

    async def test(here: Surroundings) -> None:
        here.store.failing = 1
        await here.context.spend_mana_resilient(OWNER, 7, key="one")
        assert await here.context.get_mana_resilient(OWNER) == 993
        assert here.paused == PRESETS["testing"].retry.initial_delay
        assert here.store.writes == 2
        await here.context.spend_mana_resilient(OWNER, 7, key="one")
        assert await here.context.get_mana_resilient(OWNER) == 993
        await here.context.spend_mana_resilient(OWNER, 7)
        await here.context.spend_mana_resilient(OWNER, 7)
        assert await here.context.get_mana_resilient(OWNER) == 979

    around(tmp_path, test)


def test_a_job_whose_answer_was_lost_is_submitted_once(tmp_path: Path) -> None:
    """Nobody knew whether the first commit was durable; the repetition under the same key finds the job and charges nothing."""

    async def test(here: Surroundings) -> None:
        here.store.lost = 1
        job = await here.submit()
        assert here.store.writes == 2
        assert await here.context.get_mana_resilient(OWNER) == 990
        assert [row[0] for row in here.store.read("SELECT id FROM jobs")] == [job]
        found = await here.context.get_job_status_resilient(job)
        assert found is not None
        assert found["status"] == jobbook.SUBMITTED
        assert await here.context.get_job_status_resilient("bafyunknown") is None

    around(tmp_path, test)


def test_refusals_are_answers_they_open_nothing_and_are_not_repeated(tmp_path: Path) -> None:
    """Fifty jobs that cannot be paid, or whose key was used before, leave every breaker closed."""

    async def test(here: Surroundings) -> None:
        await here.submit("taken")
        here.store.writes = 0
        for number in range(50):
            with pytest.raises(Refusal) as refused:
                await here.submit(f"dear-{number}", 1000)
            assert refused.value.code == 402
            with pytest.raises(Refusal) as refused:
                await here.submit("taken", 11)
            assert refused.value.code == 409
        assert here.store.writes == 100
        assert here.paused == 0
        assert set(here.context.breakers.values()) == {
            each for each in here.context.breakers.values() if each.state == "closed"
        }
        assert here.count("submit_job", "refused") == 100

    around(tmp_path, test, mana=500)


def test_failures_open_the_breaker_and_then_nothing_is_asked(tmp_path: Path) -> None:
    """The breaker of jobs opens, that of mana stays closed, reads go on, and a reset lets the next one through."""

    async def test(here: Surroundings) -> None:
        here.store.failing = 100
        with pytest.raises(StoreUnavailable):
            await here.submit()
        assert (here.state("job"), here.state("mana"), here.state("ledger_read")) == ("open", "closed", "closed")
        asked = here.store.writes
        with pytest.raises(StoreBroken) as broken:
            await here.submit()
        assert here.store.writes == asked
        assert 0 < broken.value.retry_after <= PRESETS["testing"].breaker.recovery_timeout
        assert await here.context.get_mana_resilient(OWNER) == 1000
        status = here.context.get_circuit_breaker_status()
        assert (status["job_circuit_open"], status["mana_circuit_open"], status["dag_circuit_open"]) == (True, False, False)
        assert "locked" in status["breakers"]["job"]["last_failure"]
        here.store.failing = 0
        here.context.reset_circuit_breakers()
        assert await here.submit()

    around(tmp_path, test)


def test_a_balance_is_served_with_its_age_when_it_cannot_be_read(tmp_path: Path) -> None:
    """What was read last is told, and how long ago; an account that was never read is unavailable, not empty."""

    async def test(here: Surroundings) -> None:
        fresh = await here.context.balance_resilient(OWNER)
        assert (fresh.available, fresh.age) == (1000, None)
        here.store.unreadable = True
        here.time += 4_500
        for _ in range(5):
            stale = await here.context.balance_resilient(OWNER)
            assert (stale.available, stale.age) == (1000, 4.5)
        assert here.store.reads == 1 + PRESETS["testing"].breaker.failure_threshold
        assert await here.context.get_mana_resilient(OWNER) == 1000
        with pytest.raises(StoreUnavailable):
            await here.context.get_mana_resilient(OWNER[:-1] + "L")
        here.store.unreadable = False
        here.context.reset_circuit_breakers()
        assert (await here.context.balance_resilient(OWNER)).age is None
        assert here.count("get_mana", "stale") == 6

    around(tmp_path, test)


def test_a_receipt_goes_to_what_takes_receipts(tmp_path: Path) -> None:
    """Before the node has started it is 503; an outage of the ledger is bridged; and a refusal is handed through."""
    came: list[Any] = []

    async def take(receipt: Any) -> str:
        came.append(receipt)
        if len(came) == 1:
            raise StoreUnavailable("locked")
        if receipt == "forged":
            raise Refusal(422, "forged")
        return "bafyreceipt"

    async def test(here: Surroundings) -> None:
        with pytest.raises(Refusal) as refused:
            await here.context.anchor_receipt_resilient({})
        assert refused.value.code == 503
        here.context.receipts = take
        assert await here.context.anchor_receipt_resilient("receipt") == "bafyreceipt"  # type: ignore[arg-type]
        assert came == ["receipt", "receipt"]
        with pytest.raises(Refusal, match="forged"):
            await here.context.anchor_receipt_resilient("forged")  # type: ignore[arg-type]
        assert len(came) == 3

    around(tmp_path, test)


def test_the_ledger_and_the_blocks_have_breakers_of_their_own(tmp_path: Path) -> None:
    """Blocks can be written while the ledger is down."""

    async def test(here: Surroundings) -> None:
        here.store.failing = 100
        with pytest.raises(StoreUnavailable):
            await here.submit()
        await here.context.dag.write(lambda tx: tx.execute("INSERT INTO pins VALUES (x'00', NULL)").rowcount)
        assert here.context.dag.read("SELECT count(*) FROM pins") == [(1,)]
        assert here.state("dag") is CircuitState.CLOSED

    around(tmp_path, test)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailable("locked"), Outcome.RETRYABLE),
        (Undecided("unknown"), Outcome.RETRYABLE),
        (OSError("disk"), Outcome.RETRYABLE),
        (Refusal(402, "insufficient mana"), Outcome.PERMANENT),
        (Refusal(409, "used"), Outcome.PERMANENT),
        (Refusal(503, "busy"), Outcome.OVERLOAD),
        (KeyError("a mistake"), Outcome.PERMANENT),
    ],
)
def test_only_the_infrastructure_fails(error: Exception, outcome: Outcome) -> None:
    """What a client did wrong, and what we did wrong, does not pass by waiting."""
    assert NodeClassifier().classify(error) is outcome


def test_the_presets_are_the_originals_for_retries() -> None:
    """Six, four and three attempts."""
    assert {name: preset.retry.max_retries for name, preset in PRESETS.items()} == {
        "production": 5,
        "development": 3,
        "testing": 2,
    }


def test_a_probe_that_fails_counts_so_that_nobody_keeps_trying(tmp_path: Path) -> None:
    """Nobody had to call: after as many failed looks as the preset's breaker takes, writes end at once, and reads go on."""

    async def test(here: Surroundings) -> None:
        here.store.failing = 100
        degradation = Degradation(here.store, here.dag, here.context, RuntimeMetrics(CollectorRegistry()))
        for _ in range(2):
            await degradation.look()
        assert here.state("job") is here.state("mana") is CircuitState.OPEN
        assert here.state("ledger_read") is here.state("dag") is CircuitState.CLOSED
        tried = here.store.writes
        with pytest.raises(StoreUnavailable):
            await here.submit()
        assert (here.store.writes, here.paused) == (tried, 0.0)

    around(tmp_path, test)
