"""What the node does worse while something is down, instead of nothing; and the task that finds out.

| what is down | what the node does |
|---|---|
| ledger.db takes no writes | read-only: writes get 503 with Retry-After, reads are served |
| ledger.db can't be read | balances are served stale, with their age |
| dag.db takes no writes | receipts wait in the durable outbox |
| dag.db can't be read | all but blocks and governance is served |
| too much is asked at once | the least important requests are refused first |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from gates.node.background import Background
from gates.node.context import ResilientRuntimeContext
from gates.node.errors import FAILURES
from gates.node.metrics_runtime import RuntimeMetrics
from gates.node.probe import Probe
from gates.node.storage import Storage
from gates.recovery import CircuitBreaker, CircuitState

PATIENCE = 1.0
PACE, CLOSE_LOOK = 1.0, 0.25
SHEDDING_FOR = 5.0
READ_ONLY, STALE, OUTBOX, NO_BLOCKS, SHEDDING = "read_only", "stale_balances", "receipts_wait", "no_blocks", "shedding"
MODES = (READ_ONLY, STALE, OUTBOX, NO_BLOCKS, SHEDDING)
_BREAKERS = {
    "mana": "ledger_write",
    "job": "ledger_write",
    "ledger_read": "ledger_read",
    "dag": "dag_write",
    "dag_read": "dag_read",
}
"""What must work for each breaker to close."""
_MODE_OF = {"ledger_write": READ_ONLY, "ledger_read": STALE, "dag_write": OUTBOX, "dag_read": NO_BLOCKS}


class Degradation(Background):
    """Looks at the dependencies, closes breakers whose dependency is back, and says what the node does worse now.

    Attributes:
        up: by dependency, whether it answered when it was last looked at.
    """

    task_name = "degradation"

    def __init__(
        self,
        ledger: Storage,
        dag: Storage,
        context: ResilientRuntimeContext,
        metrics: RuntimeMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._metrics, self._clock = context, metrics, clock
        attempts = {
            "ledger_write": ledger.try_write,
            "ledger_read": ledger.try_read,
            "dag_write": dag.try_write,
            "dag_read": dag.try_read,
        }
        self._probes = {name: Probe(attempt, patience=PATIENCE, failures=FAILURES) for name, attempt in attempts.items()}
        self.up = dict.fromkeys(attempts, True)
        self._shed_at = float("-inf")
        self._shown = dict.fromkeys(MODES, False)
        for mode in MODES:
            metrics.degraded.labels(mode).set(0)

    # --- what is degraded ---------------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether writes are refused: the ledger did not take the last ones."""
        return not self.up["ledger_write"] or self._open("job") or self._open("mana")

    @property
    def modes(self) -> list[str]:
        """What the node does worse now."""
        now = {
            READ_ONLY: self.read_only,
            STALE: not self.up["ledger_read"] or self._open("ledger_read"),
            OUTBOX: not self.up["dag_write"] or self._open("dag"),
            NO_BLOCKS: not self.up["dag_read"] or self._open("dag_read"),
            SHEDDING: self._clock() - self._shed_at < SHEDDING_FOR,
        }
        for mode, is_so in now.items():
            self._metrics.degraded.labels(mode).set(is_so)
            if is_so and not self._shown[mode]:
                self._metrics.degradations.labels(mode).inc()
        self._shown = now
        return [mode for mode, is_so in now.items() if is_so]

    def shed(self, importance: str) -> None:
        """A request of this *importance* was refused for load."""
        self._shed_at = self._clock()
        self._metrics.shed.labels(importance).inc()

    def _open(self, name: str) -> bool:
        return self._context.breakers[name].state is CircuitState.OPEN

    # --- finding out --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self.look()
            pace = PACE if all(self.up.values()) else CLOSE_LOOK
            before = self._clock()
            await asyncio.sleep(pace)
            self._metrics.lag.observe(max(0.0, self._clock() - before - pace))

    async def look(self, only: str = "") -> Mapping[str, bool]:
        """Probe the dependencies whose names end with *only*, each for at most `PATIENCE`; which of all answered last."""
        names = [name for name in self._probes if name.endswith(only)]
        answers = await asyncio.gather(*(self._asked(name) for name in names))
        self.up = {**self.up, **dict(zip(names, answers, strict=True))}
        for breaker, dependency in _BREAKERS.items():
            _tell(self._context.breakers[breaker], self.up[dependency])
        _ = self.modes
        return self.up

    async def _asked(self, dependency: str) -> bool:
        began = self._clock()
        passes = await self._probes[dependency].passes()
        self._metrics.probes.labels(dependency, "passed" if passes else "failed").inc()
        self._metrics.probing.labels(dependency).observe(self._clock() - began)
        return passes


def _tell(breaker: CircuitBreaker, up: bool) -> None:
    """Let the probe be the one call that an open breaker admits, so that no user's request has to be.

    A probe that fails counts for a closed one too: requests that try again and again are told soon that it is no use.
    """
    if (up and breaker.state is CircuitState.CLOSED) or (permit := breaker.try_acquire()) is None:
        return
    if up:
        permit.succeeded()
    else:
        permit.failed(ConnectionError("the probe failed"))


__all__ = ["MODES", "Degradation"]
