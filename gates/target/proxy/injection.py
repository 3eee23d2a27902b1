"""Which defect a response gets: a seeded draw a request, and a record of every one that was done."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TextIO

DELAY, ERROR, WRONG_BODY = "delay", "error", "wrong_body"


class Injection:
    """Draws defects by *settings* (see `ProxySettings.injection`) and writes each to *log* as a JSON line.

    Shares are kept exactly over time, not only in the mean: of every 1/share matching requests one gets the defect, at a
    seeded place. So a drill of 5 % does 5 %, however short it is.
    """

    def __init__(
        self, settings: Mapping[str, Any], generator: Random, log: TextIO, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock
        self.done: Counter[str] = Counter()
        self.forwarded = 0
        parts = ((DELAY, "delay"), (ERROR, "errors"), (WRONG_BODY, "wrong_body"))
        self._due = {kind: generator.random() for kind, key in parts if settings.get(key)}
        self._shares = {kind: settings[key]["share"] for kind, key in parts if settings.get(key)}

    def draw(self, method: str, path: str) -> str:
        """The defect for the response to this request, or an empty text."""
        wanted_method, wanted_path = self._settings.get("method", ""), self._settings.get("path", "")
        if (wanted_method and method != wanted_method) or not path.startswith(wanted_path):
            return ""
        for kind, share in self._shares.items():
            self._due[kind] += share
        ready = [kind for kind, due in self._due.items() if due >= 1]
        if not ready:
            return ""
        chosen = max(ready, key=lambda kind: self._due[kind])
        self._due[chosen] -= 1
        return chosen

    def delay(self) -> float:
        """For how many seconds a delayed response is held back."""
        return float(self._settings["delay"]["by"])

    def replaced(self, kind: str, raw: bytes) -> bytes:
        """The response that takes the place of *raw*."""
        if kind == ERROR:
            return _response(int(self._settings["errors"]["status"]), {"error": "seeded by a drill"})
        if kind == WRONG_BODY:
            return _response(200, self._settings["wrong_body"]["body"])
        return raw

    def note(self, kind: str, method: str, path: str) -> None:
        """Write down that *kind* was done to a response."""
        self.done[kind] += 1
        self._write({"time": self._clock(), "kind": kind, "method": method, "path": path})

    def close(self) -> None:
        """Write down the totals."""
        self._write({"time": self._clock(), "kind": "total", "forwarded": self.forwarded, "done": dict(self.done)})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def _response(status: int, body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Seeded\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text
