"""Locks that a forked child finds unlocked.

A lock of its own would cost every keyed breaker 40 bytes and a place in a list for the fork, so a fixed number is shared.
They are held for microseconds. Whoever holds one may come to ask for it again all the same: the collector of garbage can end a
guarded generator in the middle of a change, and a signal's handler may call anything. So they let their holder in twice.
"""

from __future__ import annotations

import os
from _thread import RLock

_LOCKS = tuple(RLock() for _ in range(64))
_handed_out = 0


def shared_lock() -> RLock:
    """One of the locks, in turn."""
    global _handed_out
    _handed_out += 1
    return _LOCKS[_handed_out % len(_LOCKS)]


def _unlock_all() -> None:
    for lock in _LOCKS:
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # what threading itself calls in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)
