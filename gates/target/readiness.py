"""Waiting until a started process is ready: by HTTP, by TCP or by a line in its log."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from gates.model import Ready
from gates.target.error import TargetError
from gates.target.process import Process

INTERVAL = 0.02
ANSWER = 1.0
_NONE: Mapping[str, str] = MappingProxyType({})


def wait_until_ready(
    process: Process,
    ready: Ready,
    url: str,
    *,
    headers: Mapping[str, str] = _NONE,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when *process* at *url* is ready; *headers* go with what is asked over HTTP.

    Raises TargetError when it ends before that, or is not within `ready.within`."""
    deadline = clock() + ready.within
    while True:
        if process.exit_code() is not None:
            raise _ended(process)
        if _is_ready(process, ready, url, headers):
            return
        if clock() >= deadline:
            raise TargetError(
                f"was not ready within {ready.within:g} s: {_expected(ready, url)}",
                location=process.name,
                hint=f"read its log, {process.log}, or give it longer with `ready: {{within: ...}}`",
                tail=process.tail(),
            )
        sleep(INTERVAL)


def answers_tcp(url: str, patience: float = ANSWER) -> bool:
    """Whether something accepts connections at *url*."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=patience).close()
    except OSError:
        return False
    return True


def _is_ready(process: Process, ready: Ready, url: str, headers: Mapping[str, str]) -> bool:
    if ready.http:
        return _answers_http(url, ready.http, headers)
    if ready.log:
        return _logged(process, ready.log)
    return answers_tcp(url)


def _answers_http(url: str, path: str, headers: Mapping[str, str]) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER)
    try:
        connection.request("GET", path, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        response.read()
        return 200 <= response.status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _logged(process: Process, pattern: str) -> bool:
    with process.log.open("rb") as file:
        file.seek(process.log_offset)
        return re.search(pattern, file.read().decode(errors="replace"), re.MULTILINE) is not None


def _ended(process: Process) -> TargetError:
    tail, code = process.tail(), process.exit_code()
    ending = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    last = f"; its last line: {tail.lines[-1]}" if tail.lines else ""
    return TargetError(f"{ending} before it was ready{last}", location=process.name, hint=f"its log: {process.log}", tail=tail)


def _expected(ready: Ready, url: str) -> str:
    if ready.http:
        return f"no 2xx answer from {url}{ready.http}"
    if ready.log:
        return f"no line of its log matches {ready.log!r}"
    return f"nothing accepts connections at {url}"
