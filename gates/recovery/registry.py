"""Breakers by key: one a peer, an account, an executor, and no more of them than are used."""

from __future__ import annotations

import time
from _random import Random

from gates.recovery.breaker import CircuitBreaker
from gates.recovery.circuit import CLOSED, CircuitBreakerConfig, Core
from gates.recovery.classification import DefaultErrorClassifier, ErrorClassifier
from gates.recovery.configuration import callable_, instance, number, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gates.recovery.events import Listener


class BreakerRegistry:
    """Breakers with the same figures, made at the first use of their key.

    A closed breaker that nobody asked for in *idle* seconds is forgotten, and so are the least used ones beyond *limit*. One
    that is not closed is kept whatever happens. There are two generations of keys: what is used moves to the young one, and
    when the time is up or the young one is half the limit, the old one is dropped and the young one becomes old.

    Attributes:
        idle: seconds after which a closed breaker may be forgotten, and after twice that it is.
        limit: how many closed breakers are kept at most.
    """

    __slots__ = ("_core", "_old", "_turned", "_young", "idle", "limit")

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        *,
        classifier: ErrorClassifier | None = None,
        idle: float = 600.0,
        limit: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] | None = None,
    ) -> None:
        figures = CircuitBreakerConfig() if config is None else config
        meaning = DefaultErrorClassifier() if classifier is None else classifier
        instance("BreakerRegistry.config", figures, CircuitBreakerConfig, "a CircuitBreakerConfig")
        instance("BreakerRegistry.classifier", meaning, ErrorClassifier, "an ErrorClassifier")
        callable_("BreakerRegistry.clock", clock)
        draw = Random().random if random is None else random
        callable_("BreakerRegistry.random", draw)
        self.idle = number("BreakerRegistry.idle", idle, 0.0, above=True)
        self.limit = whole("BreakerRegistry.limit", limit, 2)
        self._core = Core(figures, meaning, clock, draw)
        self._young: dict[str, CircuitBreaker] = {}
        self._old: dict[str, CircuitBreaker] = {}
        self._turned = clock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """Every breaker that is kept now."""
        with self._core.lock:
            return iter([*self._old.values(), *self._young.values()])

    def get(self, key: str) -> CircuitBreaker:
        """The breaker of *key*; always the same one while it is kept."""
        breaker = self._young.get(key)
        return breaker if breaker is not None else self._found(key)

    __getitem__ = get

    def listen(self, listener: Listener) -> None:
        """Tell *listener* what happens to any of the breakers made from now on, and to those that are kept."""
        callable_("BreakerRegistry.listen", listener)
        self._core.listeners.add(listener)
        for breaker in self:
            with self._core.lock:
                breaker.refresh()

    def _found(self, key: str) -> CircuitBreaker:
        with self._core.lock:
            breaker = self._young.get(key) or self._old.pop(key, None)
            self._turn()
            if breaker is None:
                breaker = CircuitBreaker(key, core=self._core)
            self._young[key] = breaker
            return breaker

    def _turn(self) -> None:
        now = self._core.clock()
        if now - self._turned < self.idle and len(self._young) < self.limit // 2:
            return
        kept = {key: breaker for key, breaker in self._old.items() if breaker.state is not CLOSED}
        self._old = {**kept, **self._young}
        self._young = {}
        self._turned = now
