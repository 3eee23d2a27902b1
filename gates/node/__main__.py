"""`python -m gates.node`: one node of the reference federation, until SIGTERM."""

from __future__ import annotations

import argparse
import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from gates.node.app import Node
from gates.node.metrics import Metrics
from gates.node.peers import Peers
from gates.node.protocol import BoundedProtocol
from gates.node.store import Store, StoreUnavailable


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. 0 after a clean end, 1 when the port or the data folder can't be had."""
    options = parse(arguments)
    metrics = Metrics()
    store = Store(options.data, f"did:icn:{options.name}", committed=metrics.committed)
    try:
        listener = _listen(options.port)
        store.open(options.mana)
    except (OSError, StoreUnavailable) as error:
        sys.stderr.write(f"{options.name}: {error}\n")
        return 1
    signal.signal(signal.SIGTERM, _leave)
    with listener:
        sys.stderr.write(f"{options.name}: http://127.0.0.1:{listener.getsockname()[1]}\n")
        server = uvicorn.Server(_configuration(options, store, metrics))
        server.run([listener])
    return 0 if server.started else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The node's command line."""
    parser = argparse.ArgumentParser(prog="python -m gates.node", description="One node of the reference federation.")
    parser.add_argument("--name", required=True, type=_name, help="the node's name, part of its DID")
    parser.add_argument("--data", required=True, type=Path, help="folder of its database; made when it is not there")
    parser.add_argument("--port", default=0, type=int, help="port on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--peers", default={}, type=_peers, help="name=url,... of the other nodes")
    parser.add_argument("--mana", default=1_000_000, type=int, help="minted once, when the database is made")
    return parser.parse_args(arguments)


def _configuration(options: argparse.Namespace, store: Store, metrics: Metrics) -> uvicorn.Config:
    peers = Peers(options.peers, changed=lambda name, up: metrics.peers.labels(name).set(up))
    node = Node(options.name, store, peers, metrics)
    quiet: dict[str, Any] = {"access_log": False, "log_level": "warning", "server_header": False, "date_header": False}
    return uvicorn.Config(
        node.application(),
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        **quiet,
    )


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise OSError(f"can't listen on 127.0.0.1:{port}: {error.strerror}") from None
    return listener


def _leave(_number: int, _frame: object) -> None:
    """uvicorn raises the signal that ended it once more after its clean shutdown: the process then ends with 0."""
    raise SystemExit(0)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise argparse.ArgumentTypeError("expected lower-case letters, digits and dashes")
    return text


def _peers(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(name and url.startswith("http://") for name, _, url in pairs):
        raise argparse.ArgumentTypeError("expected name=http://host:port,...")
    return {name: url for name, _, url in pairs}


if __name__ == "__main__":
    sys.exit(main())
