"""The retry budget: successes earn the right to retry, so that a total outage is not multiplied.

A budget is a token bucket. A retry takes one token, a success gives `ratio` of one back, and time gives `reserve` tokens a
second. When it is empty, the error comes out at once. As a step of a policy (or in `with budget.sharing():`) it is shared
with every retry further in that has none of its own, across functions and tasks, by a context variable.
"""

from __future__ import annotations

import time
from _contextvars import ContextVar

from gates.recovery.configuration import callable_, number
from gates.recovery.locks import shared_lock
from gates.recovery.weaving import Step, refuse_generators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from gates.recovery.weaving import Source

TOKEN = 1_000_000
"""Tokens are counted in millionths, as whole numbers: no sum of ratios drifts."""

budgets: list[bool] = []
"""Not empty once a budget was shared in this process; until then nobody asks for one."""

shared: ContextVar[RetryBudget | None] = ContextVar("gates.recovery.budget", default=None)


class RetryBudget(Step):
    """So many retries at once, and then a share of the successes.

    In any time T: retries <= burst + ratio * successes + reserve * T.

    Attributes:
        ratio: retries earned by a success.
        burst: the most tokens, and how many there are at first.
        reserve: tokens that come back every second, so that a client that only fails can find out when that ends.
        short: whether there is room for more tokens. While there is none, a success costs one comparison.
    """

    __slots__ = ("_at", "_capacity", "_clock", "_deposit", "_lock", "_tokens", "burst", "ratio", "reserve", "short")

    def __init__(
        self,
        ratio: float = 0.1,
        burst: float = 10.0,
        reserve: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ratio = number("RetryBudget.ratio", ratio, 0.0, 1.0)
        self.burst = number("RetryBudget.burst", burst, 0.0)
        self.reserve = number("RetryBudget.reserve", reserve, 0.0)
        callable_("RetryBudget.clock", clock)
        self._clock = clock
        self._lock = shared_lock()
        self._deposit = round(self.ratio * TOKEN)
        self._tokens = self._capacity = round(self.burst * TOKEN)
        self._at = clock() if self.reserve else 0.0
        self.short = False

    @property
    def tokens(self) -> float:
        """The retries that could be made now."""
        with self._lock:
            self._trickle()
            return self._tokens / TOKEN

    def withdraw(self) -> bool:
        """Take a token for one retry; False when there is none."""
        with self._lock:
            self._trickle()
            if self._tokens < TOKEN:
                return False
            self._tokens -= TOKEN
            self.short = True
            return True

    def deposit(self) -> None:
        """A call succeeded."""
        with self._lock:
            self._add(self._deposit)

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the sharing and the deposit."""
        refuse_generators("RetryBudget", source)
        budgets[:] = [True]
        token, budget = source.local("shared"), source.bind(self, "budget")
        variable = source.bind(shared, "variable")
        source.line(f"{token} = {variable}.set({budget})")
        with source.block("try:"):
            inner()
        with source.block("finally:"):
            source.line(f"{variable}.reset({token})")
        self.weave_deposit(source)

    def weave_deposit(self, source: Source) -> None:
        """Write what a success does."""
        with source.block(f"if {source.bind(self, 'budget')}.short:"):
            source.line(f"{source.bind(self.deposit, 'deposit')}()")

    def sharing(self) -> Sharing:
        """A context in which retries without a budget of their own spend from this one."""
        return Sharing(self)

    def _trickle(self) -> None:
        if self.reserve:
            now = self._clock()
            gained = int((now - self._at) * self.reserve * TOKEN)
            if gained > 0:
                self._at += gained / (self.reserve * TOKEN)
                self._add(gained)

    def _add(self, amount: int) -> None:
        self._tokens = min(self._capacity, self._tokens + amount)
        self.short = self._tokens < self._capacity


class Sharing:
    """`with budget.sharing():`, good for one use."""

    __slots__ = ("_budget", "_token")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __enter__(self) -> RetryBudget:
        budgets[:] = [True]
        self._token: Token[RetryBudget | None] = shared.set(self._budget)
        return self._budget

    def __exit__(self, *_: object) -> None:
        shared.reset(self._token)
