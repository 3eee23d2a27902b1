"""A node that can do nothing but membership, over real HTTP in this process: for tests of the federation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Served
from waiting import soon

from gates.node.api_federation import ROUTES
from gates.node.auth import EXEMPT, Gatekeeper
from gates.node.errors import Refusal
from gates.node.federation import TABLES, Federation
from gates.node.http import Call, Route, json_answer, refused
from gates.node.identity import Identity
from gates.node.metrics_federation import FederationMetrics
from gates.node.peer_client import PeerClient
from gates.node.settings import Settings
from gates.node.storage import SqliteStorage

KEY = "key-of-the-operator"


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are the test run's own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve *app* on *listener* as long as the block runs."""
    configuration = uvicorn.Config(app, lifespan="off", ws="none", log_level="critical", timeout_graceful_shutdown=1)
    server = _Server(configuration)
    task = asyncio.create_task(server.serve([listener]))
    await soon(lambda: server.started, "the server has started")
    try:
        yield
    finally:
        server.should_exit = True
        await task


class SmallNode:
    """Membership of one node, on *folder* and a port of its own."""

    def __init__(
        self, folder: Path, name: str, seed: int, listener: socket.socket, peers: dict[str, str], **settings: Any
    ) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.settings = Settings(name, folder, peers=peers, api_key=KEY, **{"peer_pace_ms": 50, **settings})
        self.identity = Identity.from_seed(bytes([seed]) * 32)
        self.registry = CollectorRegistry()
        self.metrics = FederationMetrics(self.registry)
        self.store = SqliteStorage(folder / "ledger.db", (TABLES,))
        self.store.open()
        self.federation = Federation(self.settings, self.identity, self.store, url=self.url, metrics=self.metrics)
        self.federation.load()
        self.client = PeerClient(self.identity, self.federation, metrics=self.metrics, preset="testing")
        self.gatekeeper = Gatekeeper(self.settings, self.identity.did, known=self.federation.known, metrics=self.metrics)
        self._listener = listener

    @asynccontextmanager
    async def running(self, *more: Route) -> AsyncIterator[SmallNode]:
        """Serve, and look at the peers."""
        self.store.start()
        self.client.start()
        try:
            async with serving(self._app([*ROUTES, *more]), self._listener):
                self.federation.look_through(self.client)
                self.federation.start()
                try:
                    yield self
                finally:
                    await self.federation.stop()
                    await self.client.close()
        finally:
            self.store.close()

    def _app(self, routes: Sequence[Route]) -> Starlette:
        async def health(_request: Request) -> Response:
            return json_answer({"status": "ok"})

        served = [Served(route.path, self._answering(route), methods=[route.method]) for route in routes]
        return Starlette(routes=[Served("/health", health), *served])

    def _answering(self, route: Route) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                body = await request.body()
                public = request.url.path in EXEMPT
                who = self.gatekeeper.anonymous() if public else self.gatekeeper.admit(request, body, peer=route.peer)
                return await route.handler(Call(self, request, who, body))
            except Refusal as refusal:
                return refused(refusal)

        return answer


def listening() -> socket.socket:
    """A socket that listens on a free port of loopback."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


async def until(condition: Callable[[], bool], patience: float = 5.0) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.002)
