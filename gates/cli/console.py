"""Where output goes: stdout is data, stderr is talk; colour only where a person reads it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"

EVERY = 10.0
"""Seconds between two lines that say how far something is, where no terminal can be drawn over."""


class Console:
    """What the commands of one process share: how much to say, and how to dress it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.quiet = False
        self.verbose = False
        self.debug = False
        self._drawn = False
        self._clock = clock
        self._told: float | None = None

    def talk(self, text: str = "") -> None:
        """Say something to a person on stderr, unless -q was given."""
        if not self.quiet:
            self._erase()
            print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Say something that only -v wants to hear."""
        if self.verbose:
            self.talk(text)

    def progress(self, text: str) -> None:
        """Say how far something is: on a terminal in one line that is drawn over itself, elsewhere in a line now and then.

        With -v every step is a line, with -q none.
        """
        if self.quiet or self.verbose:
            self.detail(text)
            return
        if not live(sys.stderr):
            self._now_and_then(text)
            return
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def _now_and_then(self, text: str) -> None:
        now = self._clock()
        if self._told is None or now - self._told >= EVERY:
            self._told = now
            self.talk(text)

    def _erase(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def error(self, text: str) -> None:
        """Say what went wrong, on stderr, also with -q."""
        self._erase()
        print(f"{paint('error', RED, sys.stderr)}: {text}", file=sys.stderr, flush=True)

    def data(self, text: str) -> None:
        """Write a command's result to stdout."""
        self._erase()
        print(text, flush=True)


def coloured(stream: TextIO) -> bool:
    """Whether *stream* takes colours: NO_COLOR and FORCE_COLOR decide, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def live(stream: TextIO) -> bool:
    """Whether *stream* is a terminal that can be drawn over: not in CI, not a pipe, not dumb."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def paint(text: str, code: str, stream: TextIO) -> str:
    """*text* in an ANSI style when *stream* takes colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(stream) else text


console = Console()
