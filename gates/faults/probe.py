"""The probe of a crash: is the process there, and does its port accept connections? It has no part in causing the crash."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from gates.model import Target

PACE = 0.01
PATIENCE = 0.05


class CrashProbe(threading.Thread):
    """Looks at *node* every 10 ms until `finish`, and notes when it was first seen gone and when first seen back.

    Gone is: no process and no listener. Back is: both again. In between it is neither.
    """

    def __init__(self, target: Target, node: str, clock: Callable[[], float]) -> None:
        super().__init__(name=f"probe-{node}", daemon=True)
        self._target, self._node, self._clock = target, node, clock
        self._address = _address(target.endpoints[node])
        self._listening = getattr(target, "listens", None)
        self._finish = threading.Event()
        self.up = threading.Event()
        self.gone = threading.Event()
        self.gone_at: float | None = None
        self.back_at: float | None = None
        self.back = threading.Event()
        self.looks = 0

    def run(self) -> None:
        while not self._finish.is_set():
            self._look()
            self._finish.wait(PACE)

    def _look(self) -> None:
        process, port = self._target.is_running(self._node), self._listens()
        now = self._clock()
        self.looks += 1
        if self.gone_at is None:
            if process and port:
                self.up.set()
            elif not process and not port and self.up.is_set():
                self.gone_at = now
                self.gone.set()
        elif self.back_at is None and process and port:
            self.back_at = now
            self.back.set()

    def _listens(self) -> bool:
        if self._listening is not None:  # itself: a link takes connections for a node that is dead
            return bool(self._listening(self._node, PATIENCE))
        try:
            with socket.create_connection(self._address, PATIENCE):
                return True
        except OSError:
            return False

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
