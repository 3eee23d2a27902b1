"""Seeded defects of a node that grows: it keeps what it should give back.

What a defect changes is imported inside of it, so that nothing took over the sound one. Each tells what the kernel says of its
process, so that a drill can see the growth without the pipeline.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gates.node.defects_tell import Tell

KEPT = 512 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_leak(tell: Tell) -> None:
    """A node keeps half a mebibyte of every submission for ever."""
    kept: list[bytearray] = []

    def keep(_call: Any) -> None:
        kept.append(bytearray(b"leaked" * (KEPT // 6)))
        tell(str(resident()))

    _with_every_submission(keep)


def connection_leak(tell: Tell) -> None:
    """A node opens a connection to a peer for every submission, and closes none."""
    opened: list[socket.socket] = []

    def open_one(call: Any) -> None:
        peer = urlsplit(next(iter(call.node.settings.peers.values())))
        opened.append(socket.create_connection((peer.hostname, peer.port), timeout=1.0))
        tell(str(open_files()))

    _with_every_submission(open_one)


def hoarded_bodies(tell: Tell) -> None:
    """A node takes in bodies of any size, and keeps them."""
    from gates.node import http, intake

    read, kept = intake.Bodies.read, list[bytes]()

    async def hoard(self: Any, request: Any) -> bytes:
        body = await read(self, request)
        if len(body) > http.LARGEST_BODY:
            kept.append(body)
            tell(str(resident()))
        return body

    intake.LARGEST_BODY = 1024 * http.LARGEST_BODY  # type: ignore[attr-defined]
    intake.Bodies.read = hoard  # type: ignore[method-assign]


def resident() -> int:
    """Bytes of this process that lie in memory, as the kernel counts them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def open_files() -> int:
    """How many files and connections this process has open."""
    return len(os.listdir("/proc/self/fd"))


def _with_every_submission(also: Callable[[Any], None]) -> None:
    from gates.node import api_mesh

    submitted = api_mesh._submitted

    async def growing(call: Any, submission: Any) -> Any:
        also(call)
        return await submitted(call, submission)

    api_mesh._submitted = growing
