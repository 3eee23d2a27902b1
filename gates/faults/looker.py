"""What all faults share: cause, look, heal, and note when the look first saw the fault and first saw it over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gates.faults.watch import Watch

PACE = 0.01
PATIENCE = 3.0
NOTICE = 1.0
EARLY = 0.5
"""A fault that was seen over so many seconds before its healing began was not there for as long as it is said to have been."""
Look = Callable[[], bool | None]
"""Whether the fault is there now; None when this look can't tell. It has no part in causing the fault."""


class Looker(threading.Thread):
    """Looks every *pace* seconds until `finish`.

    Seen is: not there, then, after `count`, there. Over is: not there in each look of *steady* seconds, of which the last comes
    after `heals`: from then on it stays away. *lapses* counts how often it went and came back before.
    """

    def __init__(self, look: Look, clock: Callable[[], float], *, pace: float = PACE, steady: float = 0.0) -> None:
        super().__init__(name="looker", daemon=True)
        self._look, self._clock, self._pace, self._steady = look, clock, pace, steady
        self._counts, self._heals, self._finish = threading.Event(), threading.Event(), threading.Event()
        self._since: float | None = None
        self.calm, self.saw, self.over = threading.Event(), threading.Event(), threading.Event()
        self.seen_start: float | None = None
        self.seen_end: float | None = None
        self.looks = self.lapses = 0

    def count(self) -> None:
        """The fault is being caused: from now on it counts."""
        self._counts.set()

    def heals(self) -> None:
        """Healing has begun: from now on the fault may be over."""
        self._heals.set()

    def run(self) -> None:
        while not self._finish.is_set():
            self._note()
            self._finish.wait(self._pace)

    def _note(self) -> None:
        asked, counts = self._clock(), self._counts.is_set()
        try:
            there = self._look()
        except (OSError, ValueError, LookupError):
            there = None
        self.looks += 1
        if there is False:
            self.calm.set()
        if there and counts and self.calm.is_set() and self.seen_start is None:
            self.seen_start = self._clock()
            self.saw.set()
        elif self.saw.is_set() and self.seen_end is None:
            self._maybe_over(there, asked)

    def _maybe_over(self, there: bool | None, asked: float) -> None:
        if there is not False:
            self.lapses += bool(there and self._since is not None and not self._heals.is_set())
            self._since = None if there else self._since
            return
        self._since = asked if self._since is None else self._since
        if self._heals.is_set() and asked - self._since >= self._steady:
            self.seen_end = self._since
            self.over.set()

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()


@contextmanager
def struck(
    look: Look,
    clock: Callable[[], float],
    *,
    cause: Callable[[], object],
    heal: Callable[[], object],
    how: Callable[[], str],
    steady: float = 0.0,
    pace: float = PACE,
    notice: float = NOTICE,
    patience: float = PATIENCE,
) -> Iterator[Watch]:
    """*cause* on entering, *heal* on leaving, also after an error; the watch is filled in by then.

    *how* says in the end what was looked at. *notice* is how long a fault that is not seen yet is waited for before it may be
    healed, *patience* how long its end is.
    """
    watch, looker = Watch(), Looker(look, clock, pace=pace, steady=steady)
    looker.start()
    try:
        looker.calm.wait(patience)
        watch.caused = clock()
        looker.count()
        try:
            cause()
            looker.saw.wait(notice)  # a heal within the looker's pace would hide the fault from it
            yield watch
        finally:
            watch.healing = clock()
            looker.heals()
            heal()
            if looker.saw.is_set():
                looker.over.wait(patience + steady)
    finally:
        looker.finish()
        watch.seen_start, watch.seen_end = looker.seen_start, looker.seen_end
        watch.detail = f"{how()}, {looker.looks} looks"
        _check_lapses(watch, looker)


def _check_lapses(watch: Watch, looker: Looker) -> None:
    """Say that the fault came and went; what was over long before the healing was not the fault that was asked for."""
    if looker.lapses:
        watch.detail += f"; it was away {looker.lapses} times meanwhile"
    if watch.seen_end is not None and watch.healing is not None and watch.seen_end < watch.healing - EARLY:
        watch.detail += f"; it was over {watch.healing - watch.seen_end:.2f} s before the healing began"
        watch.seen_end = None
