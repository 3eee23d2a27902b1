"""What happened, told to listeners. Nobody listening costs nothing."""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Listener: TypeAlias = "Callable[[Event], None]"


class Event:
    """One thing that happened.

    Attributes:
        kind: `transition`, `outcome`, `stale`, `rejected`, `would_open` (breakers) or `retry`, `gave_up` (retries).
        source: the name of what tells it.
        at: the reading of its clock, in seconds.
        detail: what belongs to the kind; for a transition `before`, `after` and `generation`.
    """

    __slots__ = ("at", "detail", "kind", "source")

    def __init__(self, kind: str, source: str, at: float, detail: dict[str, object]) -> None:
        self.kind = kind
        self.source = source
        self.at = at
        self.detail = detail

    def __repr__(self) -> str:
        detail = ", ".join(f"{key}={value!r}" for key, value in self.detail.items())
        return f"Event({self.kind!r}, {self.source!r}, at={self.at!r}, {detail})"


def watchable(field: str, source: object, hint: str = "") -> None:
    """Raise ConfigurationError when *source* tells nobody what happens to it; *hint* says where it belongs instead."""
    if not callable(getattr(source, "listen", None)):
        raise ConfigurationError(field, source, f"a CircuitBreaker, a BreakerRegistry or a Retry{hint}")


class Listeners:
    """The listeners of one source. One that raises is logged once and changes nothing.

    Attributes:
        listening: those who are told.
    """

    __slots__ = ("_complained", "listening")

    def __init__(self) -> None:
        self.listening: tuple[Listener, ...] = ()
        self._complained: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Tell *listener* from now on."""
        self.listening = (*self.listening, listener)

    def remove(self, listener: Listener) -> None:
        """Tell *listener* no longer; nothing happens when it was not told."""
        self.listening = tuple(known for known in self.listening if known != listener)

    def tell(self, event: Event) -> None:
        """Hand *event* to every listener."""
        for listener in self.listening:
            try:
                listener(event)
            except Exception:
                self._complain(listener)

    def _complain(self, listener: Listener) -> None:
        if listener in self._complained:
            return
        self._complained = (*self._complained, listener)
        import logging

        logging.getLogger("gates.recovery").exception("A listener raised; it is told on, and further errors are not logged")
