"""Which defect a response gets: a seeded draw a request, and a record of every one that was done."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TextIO

from gates.target.proxy.message import Message

DELAY, ERROR, WRONG_BODY, TRUNCATED, STALE, STALL = "delay", "error", "wrong_body", "truncated", "stale", "stall"
_SHARED = ((DELAY, "delay"), (ERROR, "errors"), (WRONG_BODY, "wrong_body"), (TRUNCATED, "truncated"), (STALE, "stale"))


class Injection:
    """Draws defects by *settings* (see `ProxySettings.injection`) and writes each to *log* as a JSON line.

    Shares are kept exactly over time, not only in the mean: of every 1/share matching requests one gets the defect, at a
    seeded place. So a drill of 5 % does 5 %, however short it is. *clock* gives the time of day for the log, *now* monotonic
    seconds.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        generator: Random,
        log: TextIO,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock
        self._now = now
        self._began: float | None = None
        self._earlier: dict[tuple[str, str], bytes] = {}
        self._times: list[float] = []
        self.done: Counter[str] = Counter()
        self.forwarded = 0
        self._due = {kind: generator.random() for kind, key in _SHARED if settings.get(key)}
        self._shares = {kind: settings[key]["share"] for kind, key in _SHARED if settings.get(key)}

    def draw(self, method: str, path: str) -> str:
        """The defect for the response to this request, or an empty text."""
        self._came()
        if not self._matches(method, path):
            return ""
        for kind, share in self._shares.items():
            self._due[kind] += share
        ready = [kind for kind, due in self._due.items() if due >= 1]
        if not ready:
            return ""
        chosen = max(ready, key=lambda kind: self._due[kind])
        self._due[chosen] -= 1
        return chosen

    def _came(self) -> None:
        """A request has come: the first starts the clock of stalls, and the log tells of the first and the last."""
        if self._began is None:
            self._began = self._now()
        self._times[1:] = [self._clock()]

    def _matches(self, method: str, path: str) -> bool:
        wanted_method, wanted_path = self._settings.get("method", ""), self._settings.get("path", "")
        return (not wanted_method or method == wanted_method) and path.startswith(wanted_path)

    def hold(self, kind: str) -> tuple[str, float]:
        """What is done to a response of *kind* that is there now, and for how many seconds it is held back.

        In a stall everything that has no other defect waits for its end.
        """
        if kind == DELAY:
            return DELAY, float(self._settings["delay"]["by"])
        left = self._stalled()
        return (STALL, left) if left > 0 and not kind else (kind, 0.0)

    def _stalled(self) -> float:
        """Seconds until the stall ends that is on now; each is the end of its period, counted from the first request."""
        stall = self._settings.get("stall")
        if not stall or self._began is None:
            return 0.0
        left = float(stall["every"]) - (self._now() - self._began) % float(stall["every"])
        return left if left <= float(stall["for"]) else 0.0

    def replaced(self, kind: str, request: Message, response: Message) -> bytes:
        """The bytes that take the place of *response*."""
        if kind == ERROR:
            return _response(int(self._settings["errors"]["status"]), {"error": "seeded by a drill"})
        if kind == WRONG_BODY:
            return _response(200, self._settings["wrong_body"]["body"])
        if kind == TRUNCATED:
            return _half(response.raw)
        earlier = self._earlier.get((request.method, request.path), response.raw)
        if self._settings.get("stale") and 200 <= response.status < 300:
            self._earlier[request.method, request.path] = response.raw
        return earlier if kind == STALE else response.raw

    def note(self, kind: str, method: str, path: str) -> None:
        """Write down that *kind* was done to a response."""
        self.done[kind] += 1
        self._write({"time": self._clock(), "kind": kind, "method": method, "path": path})

    def close(self) -> None:
        """Write down the totals, and when the first and the last request came."""
        came = {"first": self._times[0], "last": self._times[-1]} if self._times else {}
        self._write({"time": self._clock(), "kind": "total", "forwarded": self.forwarded, "done": dict(self.done), **came})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def _response(status: int, body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Seeded\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def _half(raw: bytes) -> bytes:
    """The head and half of the body; half of the head where there is no body."""
    body = raw.find(b"\r\n\r\n") + 4
    return raw[: body + (len(raw) - body) // 2] if len(raw) > body + 1 else raw[: len(raw) // 2]
