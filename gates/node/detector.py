"""The failure detector of one peer: alive, suspect or down, by when it was last heard and how often it was missed since."""

from __future__ import annotations

from enum import StrEnum

SUSPECT_AFTER = 2_500
DOWN_AFTER = 5_000
FEWEST_MISSES = 2


class State(StrEnum):
    """How a peer seems from here.

    ALIVE gets work; SUSPECT gets none, but is asked for what only it can answer; DOWN is only looked at.
    """

    ALIVE = "alive"
    SUSPECT = "suspect"
    DOWN = "down"


class Detector:
    """What one node knows of one peer. Times are milliseconds of any clock that does not step.

    A peer that was never heard is down. One missed answer may be bad luck, so a peer is suspect after two in a row, at once
    when its port refused a connection, or after a silence; it is down once a silence with a miss in it has lasted. Whoever
    answers is alive again.
    """

    def __init__(self, *, suspect_after: int = SUSPECT_AFTER, down_after: int = DOWN_AFTER) -> None:
        self._suspect_after, self._down_after = suspect_after, down_after
        self.heard_at: int | None = None
        self.misses = 0

    def heard(self, now: int) -> None:
        """The peer answered."""
        self.heard_at, self.misses = now, 0

    def missed(self, *, refused: bool = False) -> None:
        """The peer did not answer in time; *refused*: nobody listens at its port."""
        self.misses += FEWEST_MISSES if refused else 1

    def state(self, now: int) -> State:
        """The peer's state at *now*."""
        if self.heard_at is None:
            return State.DOWN
        silence = now - self.heard_at
        if self.misses and silence >= self._down_after:
            return State.DOWN
        if self.misses >= FEWEST_MISSES or silence >= self._suspect_after:
            return State.SUSPECT
        return State.ALIVE
