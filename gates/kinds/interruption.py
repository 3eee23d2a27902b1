"""The signals that end a gate, as a request to stop measuring: what was measured until then stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gates.model import Unit
from gates.quantity import show


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, while this lasts, instead of ending this process at any point.

    Whoever was told once is not ended by being told again, not even afterwards: it writes down what it has. In another thread
    than the main one nobody is told, and the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, (lambda *_: None) if stop.is_set() else handler)


def measured_for(seconds: float, of: float) -> str:
    """How far a load came that was to last for *of* seconds, as the second half of a sentence."""
    return f"measured for {min(seconds, of):.1f} s of {show(of, Unit.SECONDS)}"
