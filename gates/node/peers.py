"""The node's view of its peers: each one's /health is asked for at a steady pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

PACE = 1.0
PATIENCE = 0.5


class Peers:
    """Which of the configured peers answered when they were last asked. *changed* is told every answer (name, up)."""

    def __init__(self, urls: Mapping[str, str], *, changed: Callable[[str, bool], None] = lambda *_: None) -> None:
        self.urls = dict(urls)
        self.polled = not self.urls
        self._up: dict[str, bool] = {}
        self._changed = changed

    @property
    def reachable(self) -> int:
        """How many peers answered the last poll."""
        return sum(self._up.values())

    async def watch(self) -> None:
        """Poll for ever."""
        while True:
            await asyncio.gather(*(self._poll(name, url) for name, url in self.urls.items()))
            self.polled = True
            await asyncio.sleep(PACE)

    async def _poll(self, name: str, url: str) -> None:
        up = await answers(url)
        self._up[name] = up
        self._changed(name, up)


async def answers(url: str) -> bool:
    """Whether GET *url*/health is answered with 200 in time."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _status(url) == 200
    except (OSError, ValueError, IndexError, TimeoutError):
        return False


async def _status(url: str) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET /health HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
