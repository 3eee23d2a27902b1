"""`python -m gates.target.proxy PORT UPSTREAM LOG SEED SETTINGS`: one endpoint's proxy, until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from gates.target.ports import LOCALHOST
from gates.target.proxy.forward import ClientSide
from gates.target.proxy.injection import Injection


async def _serve(port: int, upstream: str, injection: Injection) -> None:
    loop = asyncio.get_running_loop()
    parts = urlsplit(upstream)
    if parts.scheme != "http" or not parts.hostname:
        raise SystemExit(f"the proxy stands before http endpoints only (got {upstream})")
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    host, upstream_port = parts.hostname, parts.port or 80
    server = await loop.create_server(lambda: ClientSide(host, upstream_port, injection), LOCALHOST, port, backlog=1024)
    async with server:
        await ended.wait()


def main() -> None:
    """Serve until SIGTERM, then write the totals."""
    port, upstream, log, seed, settings = sys.argv[1:]
    with Path(log).open("a") as lines:
        injection = Injection(json.loads(settings), Random(seed), lines)
        asyncio.run(_serve(int(port), upstream, injection))
        injection.close()


main()
