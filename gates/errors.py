"""The one exception base, and the exit codes that everything ends in."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command `gates`; `most_important` says which one wins when several hold."""

    READY = 0
    NOT_READY = 1
    USAGE = 2
    INCONCLUSIVE = 3
    BAD_FILE = 4
    NOTHING_SELECTED = 5
    UNSIGNED = 6
    INTERNAL = 70
    INTERRUPTED = 130


PRECEDENCE = (
    Exit.INTERRUPTED,
    Exit.INTERNAL,
    Exit.USAGE,
    Exit.BAD_FILE,
    Exit.NOTHING_SELECTED,
    Exit.NOT_READY,
    Exit.INCONCLUSIVE,
    Exit.UNSIGNED,
    Exit.READY,
)


def most_important(codes: Iterable[Exit]) -> Exit:
    """The code that a command ends with when all of *codes* hold; READY when there are none."""
    held = set(codes)
    return next((code for code in PRECEDENCE if code in held), Exit.READY)


class GatesError(Exception):
    """Something that the user can mend.

    Attributes:
        message: what is wrong, in one sentence, with what was got and what was expected.
        code: the exit code that the command ends with.
        location: `file`, `file:line:column` or a gate's name; empty when there is none.
        hint: what to do next, as a command or a sentence; empty when there is none.
    """

    code: Exit = Exit.USAGE

    def __init__(self, message: str, *, location: str = "", hint: str = "", code: Exit | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        what_next = f"\n  {self.hint}" if self.hint else ""
        return f"{self.said}{what_next}"

    @property
    def said(self) -> str:
        """What is wrong and where, in one sentence, for where the hint has a place of its own."""
        return f"{self.location}: {self.message}" if self.location else self.message


class UsageError(GatesError):
    """A flag or an argument that makes no sense."""

    code = Exit.USAGE


class BadFileError(GatesError):
    """A spec, plan, result, waiver, baseline or scenario file that can't be used."""

    code = Exit.BAD_FILE


class NothingSelectedError(GatesError):
    """A selection that matches no gate of the plan."""

    code = Exit.NOTHING_SELECTED
