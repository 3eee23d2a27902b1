"""Events of breakers and retries on the current span, for tracers shaped like OpenTelemetry's.

Nothing of OpenTelemetry is imported: hand in its `trace.get_current_span`.

    from opentelemetry import trace
    Tracing(trace.get_current_span).watch(breaker)
"""

from __future__ import annotations

from gates.recovery.configuration import callable_
from gates.recovery.events import watchable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from gates.recovery.breaker import CircuitBreaker
    from gates.recovery.events import Event
    from gates.recovery.registry import BreakerRegistry
    from gates.recovery.retry import Retry

    class Span(Protocol):
        """What is needed of a span."""

        def is_recording(self) -> bool:
            """Whether anybody will read what is added."""
            ...

        def add_event(self, name: str, attributes: Mapping[str, str | int | float | bool]) -> None:
            """Add an event."""


QUIET = ("outcome",)
"""Kinds that would only repeat what the span itself says."""


class Tracing:
    """Adds what happens to the span of whoever it happens to.

    Events are called `recovery.transition`, `recovery.rejected`, `recovery.retry` and so on; attributes are `recovery.source`
    and `recovery.` with the names of the event's detail.
    """

    def __init__(self, current_span: Callable[[], Span]) -> None:
        callable_("Tracing.current_span", current_span)
        self._current_span = current_span

    def watch(self, source: CircuitBreaker | BreakerRegistry | Retry) -> None:
        """Trace what happens to *source* from now on."""
        watchable("Tracing.watch", source)
        source.listen(self._told)

    def _told(self, event: Event) -> None:
        if event.kind in QUIET:
            return
        span = self._current_span()
        if not span.is_recording():
            return
        attributes: dict[str, str | int | float | bool] = {"recovery.source": event.source}
        for name, value in event.detail.items():
            attributes[f"recovery.{name}"] = value if type(value) in (str, int, float, bool) else str(value)  # type: ignore[assignment]
        span.add_event(f"recovery.{event.kind}", attributes)
