"""Faults of connections: `reset` and `half-open`. The proxy causes both, on connections that are opened to the nodes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from gates.faults.link_probe import ANSWERED, RESET, SILENT, Asker, Look, Question, named
from gates.faults.network import Directions, LinkFault, LinkSettings
from gates.model import Links, Pair, Target, Traffic


class SeveredSettings(LinkSettings):
    """`reset: {nodes: [node-b]}`: connections to the nodes (`in`, the default), from them (`out`), or both."""

    direction: Literal["both", "out", "in"] = "in"


class Severed(LinkFault):
    """What both have in common."""

    settings = SeveredSettings
    how: ClassVar[str]
    patience: ClassVar[float] = 0.5

    @contextmanager
    def changed(self, links: Links, pairs: tuple[Pair, ...], asked: Any) -> Iterator[None]:
        links.disturb(pairs, self.how)
        try:
            yield
        finally:
            links.disturb(pairs, "none")

    def traffic(self, asked: Any) -> Traffic:
        return Traffic()

    def question(self, asked: Any) -> Question:
        return Question(patience=self.patience)

    def opened(self, links: Links, pairs: Sequence[Pair]) -> list[Pair]:
        return [pair for pair in links.opened if pair in pairs]


class Reset(Severed):
    """Open connections and new ones are ended by RST."""

    name = "reset"
    how = "reset"

    def struck(self, asked: Any, looks: Sequence[Look], directions: Directions) -> bool:
        return looks[-1].how == RESET


class HalfOpen(Severed):
    """Open connections lead nowhere, and who opened them is not told; new ones are served."""

    name = "half-open"
    how = "half-open"

    def asker(self, target: Target, pair: Pair, clock: Callable[[], float]) -> Asker:
        return _Kept(target, pair, clock)

    def question(self, asked: Any) -> Question:
        return Question(patience=self.patience, keep=True)

    def struck(self, asked: Any, looks: Sequence[Look], directions: Directions) -> bool:
        return looks[-1].how == SILENT


class _Kept:
    """Asks on one connection for as long as nobody says that it is over; then on another, at once."""

    def __init__(self, target: Target, pair: Pair, clock: Callable[[], float]) -> None:
        self._target, self._pair, self._clock = target, pair, clock
        self._connection: socket.socket | None = None

    def __call__(self, question: Question) -> Look:
        asked = self._clock()
        kept = self._connection is not None
        how, pieces = self._once(question)
        if kept and how not in (ANSWERED, SILENT):
            how, pieces = self._once(question)
        return Look(asked, how, self._clock() - asked, len(question.text()), pieces)

    def _once(self, question: Question) -> tuple[str, tuple[int, ...]]:
        try:
            if self._connection is None:
                assert self._target.links is not None
                self._connection = self._target.links.connect(*self._pair, question.patience)
            self._connection.settimeout(question.patience)
            self._connection.sendall(question.text())
            data = self._connection.recv(65536)
        except TimeoutError:
            return SILENT, ()
        except OSError as error:
            self.close()
            return named(error), ()
        if not data:
            self.close()
            return RESET, ()
        return ANSWERED, (len(data),)

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
