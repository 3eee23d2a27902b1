"""The probe of a link: requests of its own through it, by which it is seen how the link is. It has no part in the fault."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gates.model import Pair, Target

PACE = 0.1
ROW = 8
ANSWERED, SILENT, RESET, ENDED = "answered", "silent", "reset", "ended"


@dataclass(frozen=True, slots=True)
class Look:
    """One request through the link: when it was asked, what became of it after *seconds*, and the bytes of both directions.

    *pieces* are the sizes in which the answer came.
    """

    asked: float
    how: str
    seconds: float
    sent: int = 0
    pieces: tuple[int, ...] = ()

    @property
    def received(self) -> int:
        return sum(self.pieces)


Struck = Callable[[Sequence[Look]], bool]
"""Whether the newest of these looks show the fault; the last is the newest."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a probe sends: *padding* bytes beyond a plain request for *path*, and for how long it waits for the answer.

    *keep* asks for the connection to be kept open.
    """

    path: str = "/"
    padding: int = 0
    patience: float = 0.5
    keep: bool = False

    def text(self) -> bytes:
        """The request."""
        lines = [f"GET {self.path} HTTP/1.1", "Host: gates", f"Connection: {'keep-alive' if self.keep else 'close'}"]
        lines += [f"X-Padding: {'x' * min(4000, left)}" for left in range(self.padding, 0, -4000)]
        return "\r\n".join([*lines, "", ""]).encode()


class Asker(Protocol):
    """Sends a question through a link; a look at how the link is."""

    def __call__(self, question: Question) -> Look: ...


def ask_anew(target: Target, pair: Pair, clock: Callable[[], float]) -> Asker:
    """One that opens a connection for every question."""

    def ask(question: Question) -> Look:
        asked = clock()
        text = question.text()
        try:
            assert target.links is not None
            with target.links.connect(*pair, question.patience) as connection:
                connection.settimeout(question.patience)
                connection.sendall(text)
                how, pieces = _listen(connection, asked + question.patience, clock)
        except OSError as error:
            how, pieces = named(error), ()
        return Look(asked, how, clock() - asked, len(text), pieces)

    return ask


def _listen(connection: socket.socket, until: float, clock: Callable[[], float]) -> tuple[str, tuple[int, ...]]:
    """What came until the other end closed; an answer that had begun when the time was up counts as one."""
    pieces: list[int] = []
    try:
        while (left := until - clock()) > 0.001:  # less would be taken for none, and be no time-out
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                return (ANSWERED if pieces else ENDED), tuple(pieces)
            pieces.append(len(data))
    except TimeoutError:
        pass
    except OSError as error:
        return named(error), tuple(pieces)
    return (ANSWERED if pieces else SILENT), tuple(pieces)


def named(error: OSError) -> str:
    """What became of a request that ended with *error*."""
    return SILENT if isinstance(error, TimeoutError) else RESET if isinstance(error, ConnectionError) else ENDED


class LinkProbe(threading.Thread):
    """Looks at the link of *pair* every 100 ms (after the heal 50 ms), and notes when the fault was first seen, and seen gone.

    It must have seen the link sound before; only looks after the fault was caused show it, and only looks after the healing
    show the link sound again. *leaks* counts the looks in between that showed no fault, *turns* how often an answer came after
    silence or silence after an answer; *fewest* looks in a row are needed to see it. *before* is what became of the last
    request before the fault.
    """

    def __init__(
        self,
        ask: Asker,
        pair: Pair,
        question: Question,
        struck: Struck,
        clock: Callable[[], float],
        *,
        fewest: int = 1,
    ) -> None:
        super().__init__(name=f"probe-{pair[0]}-{pair[1]}", daemon=True)
        self.pair = pair
        self.question = question
        self._ask, self._struck, self._clock = ask, struck, clock
        self._fewest = fewest
        self._finish = threading.Event()
        self._caused: float | None = None
        self._ending: float | None = None
        self._healing: float | None = None
        self._row: deque[Look] = deque(maxlen=ROW)
        self.sound, self.seen, self.gone = threading.Event(), threading.Event(), threading.Event()
        self.seen_at: float | None = None
        self.gone_at: float | None = None
        self.looks = self.leaks = self.turns = 0
        self.before = ""
        self._last: str = ""

    def caused(self, when: float) -> None:
        """The fault was caused at *when*."""
        self._caused = when

    def ending(self, when: float) -> None:
        """Healing begins at *when*: from now on what gets through may have been let through."""
        self._ending = when

    def healing(self, when: float) -> None:
        """Healing was over at *when*."""
        self._healing = when

    def run(self) -> None:
        while not self._finish.is_set():
            look = self._ask(self.question)
            self.looks += 1
            self._note(look)
            self._finish.wait(PACE if self._healing is None else PACE / 2)

    def _note(self, look: Look) -> None:
        caused, healing = self._caused, self._healing
        if caused is not None and self._ending is None and look.asked > caused:
            self.turns += {self._last, look.how} == {SILENT, ANSWERED}
            self._last = look.how
        if caused is None:
            self.before = look.how
            if look.how == ANSWERED:
                self.sound.set()
        elif self.seen_at is None:
            self._before_it_is_seen(look, caused)
        elif healing is None:
            self.leaks += self._ending is None and look.asked > caused and not self._struck((*self._row, look))
            self._row.append(look)
        elif look.asked >= healing and self.gone_at is None and look.how == ANSWERED and not self._struck((look,)):
            self.gone_at = self._clock()
            self.gone.set()

    def _before_it_is_seen(self, look: Look, caused: float) -> None:
        if look.asked < caused or not self.sound.is_set():
            return
        self._row.append(look)
        if len(self._row) >= self._fewest and self._struck(tuple(self._row)):
            self.seen_at = self._row[-self._fewest].asked
            self.seen.set()

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()
        getattr(self._ask, "close", lambda: None)()
