"""How a request can go wrong: one class an arrival, and never a hang."""

from __future__ import annotations

from enum import IntEnum


class Failure(IntEnum):
    """The class of an arrival's error; NONE when every check of every step held."""

    NONE = 0
    UNSENT = 1  # never sent: no connection became free before the end
    REFUSED = 2  # nobody listens
    UNREACHABLE = 3  # no route, no name, or no connection in time
    TLS = 4  # the certificate does not verify, or no TLS at all
    RESET = 5  # the connection was reset while an answer was awaited
    CLOSED = 6  # the connection was closed before the first byte of an answer
    TRUNCATED = 7  # the connection was closed in the middle of an answer
    GARBAGE = 8  # not HTTP, or more bytes than the Content-Length says
    OVERSIZED = 9  # endless headers or a body beyond all measure
    TIMEOUT = 10  # no whole answer in time
    STATUS = 11  # an unexpected status
    HEADER = 12  # an unexpected header
    BODY = 13  # a body that fails its checks, or lacks what must be captured
    ABANDONED = 14  # still waiting when the run ended itself at a breach: nobody's error, but it had waited so long

    @property
    def word(self) -> str:
        """As people read it: `wrong status`."""
        return _WORDS.get(self, self.name.lower())


_WORDS = {
    Failure.NONE: "right",
    Failure.TLS: "TLS",
    Failure.STATUS: "wrong status",
    Failure.HEADER: "wrong header",
    Failure.BODY: "wrong body",
}
# Before the request left, so that surely nothing was done.
NEVER_SENT = frozenset({Failure.UNSENT, Failure.REFUSED, Failure.UNREACHABLE, Failure.TLS})
# The client waited and got no answer: the time that it waited is a lower bound of the latency, and counts as such.
WAITED = frozenset({Failure.UNSENT, Failure.TIMEOUT, Failure.ABANDONED})
# An answer that says that nothing was done; 500, 502 and 504 may come after the effect.
REFUSALS = frozenset({*range(400, 500), 501, 503})
