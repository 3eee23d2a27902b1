"""A limit of calls at the same time that finds itself, and sheds the least important first.

The limit follows the latency, as TCP Vegas follows the round trip: `limit * (1 - best / now)` estimates how many calls only
wait. Few: the limit grows; many: it shrinks. An overload or a timeout shrinks it at once.
"""

from __future__ import annotations

import time
from _contextvars import ContextVar

from gates.recovery.classification import OVERLOAD, DefaultErrorClassifier, ErrorClassifier
from gates.recovery.configuration import callable_, choice, instance, number, text, whole
from gates.recovery.errors import Overloaded, Timeout
from gates.recovery.locks import shared_lock
from gates.recovery.weaving import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from gates.recovery.weaving import Source

SHARES = {"critical": 1.0, "normal": 0.9, "background": 0.5}
"""The share of the limit that calls of each priority may fill."""

_priority: ContextVar[str] = ContextVar("gates.recovery.priority", default="normal")


class priority:  # noqa: N801 - reads as a word: `with priority("background"):`
    """A context whose calls have the priority *level*: critical, normal or background."""

    __slots__ = ("_level", "_token")

    def __init__(self, level: str) -> None:
        self._level = choice("priority", level, tuple(SHARES))

    def __enter__(self) -> None:
        self._token: Token[str] = _priority.set(self._level)

    def __exit__(self, *_: object) -> None:
        _priority.reset(self._token)


class AdaptiveLimit(Step):
    """Calls at the same time, as many as the dependency bears. Beyond that callers get Overloaded at once.

    Attributes:
        limit: the limit now.
        minimum, maximum: what it stays between.
        in_flight: the calls that are out.
        window: so many answers make a new estimate of the best latency, so that a dependency that became slower for good is
            believed in the end.
    """

    __slots__ = (
        "_best",
        "_clock",
        "_lock",
        "_next_best",
        "_seen",
        "classifier",
        "in_flight",
        "limit",
        "maximum",
        "minimum",
        "name",
        "window",
    )

    def __init__(
        self,
        initial: int = 20,
        *,
        minimum: int = 1,
        maximum: int = 1000,
        window: int = 500,
        classifier: ErrorClassifier | None = None,
        name: str = "adaptive limit",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.minimum = whole("AdaptiveLimit.minimum", minimum, 1)
        self.maximum = whole("AdaptiveLimit.maximum", maximum, minimum)
        self.limit = number("AdaptiveLimit.initial", initial, minimum, maximum)
        self.window = whole("AdaptiveLimit.window", window, 1)
        self.classifier = DefaultErrorClassifier() if classifier is None else classifier
        instance("AdaptiveLimit.classifier", self.classifier, ErrorClassifier, "an ErrorClassifier")
        callable_("AdaptiveLimit.clock", clock)
        self.name = text("AdaptiveLimit.name", name)
        self._clock = clock
        self._lock = shared_lock()
        self.in_flight = 0
        self._best = self._next_best = float("inf")
        self._seen = 0

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the admission and the measurement."""
        started = source.local("started")
        source.line(f"{started} = {source.bind(self.enter, 'enter')}()")
        with source.block("try:"):
            inner()
        with source.block("except BaseException as _r_error:"):
            source.line(f"{source.bind(self.failed, 'failed')}(_r_error)", "raise")
        source.line(f"{source.bind(self.answered, 'answered')}({started})")

    def enter(self) -> float:
        """Take a place; the time now. Raises Overloaded when there is none for the priority of this context."""
        share = SHARES[_priority.get()]
        with self._lock:
            if self.in_flight and self.in_flight >= self.limit * share:
                raise Overloaded(self.name)
            self.in_flight += 1
        return self._clock()

    def answered(self, started: float) -> None:
        """The call begun at *started* came back well."""
        latency = max(self._clock() - started, 1e-9)
        with self._lock:
            self._learn(latency)
            waiting = self.limit * (1.0 - self._best / latency)
            step = max(1.0, int(self.limit).bit_length() / 2)
            if waiting < step and self.in_flight * 2 >= self.limit:
                self.limit = min(float(self.maximum), self.limit + step / self.limit)
            elif waiting > 2 * step:
                self.limit = max(float(self.minimum), self.limit - step / self.limit)
            self.in_flight -= 1

    def failed(self, error: BaseException) -> None:
        """The call raised *error*: an overload or a timeout takes a tenth off the limit, anything else says nothing."""
        overload = self._overload(error)
        with self._lock:
            if overload:
                self.limit = max(float(self.minimum), self.limit * 0.9)
            self.in_flight -= 1

    def _overload(self, error: BaseException) -> bool:
        try:
            return isinstance(error, Timeout) or self.classifier.classify(error) is OVERLOAD
        except Exception:
            # A classifier with a mistake in it must not hide the error that it was asked about, nor keep the place.
            return False

    def _learn(self, latency: float) -> None:
        self._best = min(self._best, latency)
        self._next_best = min(self._next_best, latency)
        self._seen += 1
        if self._seen >= self.window:
            self._best, self._next_best, self._seen = self._next_best, float("inf"), 0
