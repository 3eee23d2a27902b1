"""The wall clock of the node's state. Modules take it as an argument, so that tests bring their own."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
