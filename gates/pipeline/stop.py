"""One place that says that a run is to end, readable by every thread that waits for something."""

from __future__ import annotations

import os


class Stop:
    """Asked once to end, the *descriptor* becomes readable for good; asked twice, it is to be quick.

    Everything here is safe in a signal handler.
    """

    def __init__(self) -> None:
        self.descriptor, self._writer = os.pipe()
        self.reason = ""
        self.hurried = False

    @property
    def asked(self) -> bool:
        return bool(self.reason)

    def ask(self, reason: str) -> None:
        """End the run because of *reason*."""
        if self.reason:
            self.hurried = True
            return
        self.reason = reason
        os.write(self._writer, b"!")

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._writer)
