"""What goes wrong with a target."""

from __future__ import annotations

from gates.errors import Exit, GatesError
from gates.model import LogTail


class TargetError(GatesError):
    """A target that can't be started, never gets ready, or lacks a control.

    Attributes:
        tail: the last log lines of the process that it is about, when there is one.
    """

    code = Exit.INCONCLUSIVE

    def __init__(self, message: str, *, location: str = "", hint: str = "", tail: LogTail | None = None) -> None:
        super().__init__(message, location=location, hint=hint)
        self.tail = tail
