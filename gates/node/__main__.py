"""`python -m gates.node`: one node of the reference federation, until SIGTERM."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import uvicorn

from gates.node.draining import DrainingServer
from gates.node.errors import StoreUnavailable
from gates.node.identity import DamagedKey
from gates.node.node import Node
from gates.node.protocol import BoundedProtocol
from gates.node.settings import InvalidSettings, parse

MOST_CONNECTIONS = 8_192
_FILES = MOST_CONNECTIONS + 256
KERNEL_KEEPS = 256 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    0 after a clean end, 1 when the port, the key or a database can't be had, 2 for wrong settings.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = parse(arguments)
    except InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _raise_limit()
    try:
        listener = _listen(settings.port)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        node = Node(settings, url)
    except (OSError, StoreUnavailable, DamagedKey) as error:
        sys.stderr.write(f"{settings.name}: {error}\n")
        return 1
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _leave)
    with listener:
        sys.stderr.write(f"{settings.name}: {url}\n")
        server = DrainingServer(_configuration(node), node, listener)
        server.run([listener])
    return 0 if server.started else 1


def _configuration(node: Node) -> uvicorn.Config:
    return uvicorn.Config(
        node.server,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        access_log=False,
        log_level="error",  # it would write a line for each request that is none, as often as anybody likes
        server_header=False,
        date_header=False,
    )


def _raise_limit() -> None:
    """Let the process have a file for each connection, where the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_KEEPS)  # else it keeps megabytes a slow reader
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise OSError(f"can't listen on 127.0.0.1:{port}: {error.strerror}") from None
    return listener


def _leave(_number: int, _frame: object) -> None:
    """uvicorn raises the signal that ended it once more after its clean shutdown: the process then ends with 0."""
    raise SystemExit(0)


__all__ = ["main", "parse"]

if __name__ == "__main__":
    sys.exit(main())
