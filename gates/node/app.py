"""The node's HTTP interface, in the shapes of ICN Core's OpenAPI document; docs/node-differences.md lists where it differs."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gates.node.jobs import Refusal, execute, parse_submission
from gates.node.metrics import Metrics
from gates.node.peers import Peers
from gates.node.probe import Probe
from gates.node.store import FAILURES, Store, StoreUnavailable, Undecided

VERSION = "0.1.0"
LARGEST_BODY = 1024 * 1024
PROBE_PATIENCE = 1.0
LONGEST_PAGE = 1000
_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]{1,200}")

Handler = Callable[[Request], Awaitable[Response]]


class Node:
    """One node's parts and its HTTP handlers."""

    def __init__(self, name: str, store: Store, peers: Peers, metrics: Metrics) -> None:
        self.name, self.store, self.peers, self.metrics = name, store, peers, metrics
        self.started = time.monotonic()
        self._to_do: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        failures = (*FAILURES, sqlite3.Error)
        self._writable = Probe(store.try_write, patience=PROBE_PATIENCE, failures=failures)
        self._readable = Probe(store.try_read, patience=PROBE_PATIENCE, failures=failures)

    @asynccontextmanager
    async def life(self, _app: Starlette) -> AsyncIterator[None]:
        """Start the writer, finish what a crash left undone, watch the peers; stop all of it in the other order."""
        self.store.start()
        for unfinished in self.store.unfinished():
            self._to_do.put_nowait(unfinished)
        tasks = [asyncio.create_task(self.peers.watch()), asyncio.create_task(self._work())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.store.close()

    async def _work(self) -> None:
        """Execute stored jobs, as many at a time as are waiting."""
        while True:
            jobs = [await self._to_do.get()]
            while not self._to_do.empty():
                jobs.append(self._to_do.get_nowait())
            results = [(job, execute(spec)) for job, spec in jobs]
            try:
                await self.store.complete(results)
            except FAILURES:
                for job in jobs:
                    self._to_do.put_nowait(job)
                await asyncio.sleep(0.1)
            else:
                self.metrics.executions.inc(len(results))

    # --- jobs and mana ------------------------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        try:
            submission = parse_submission(await _body(request), request.headers.get("idempotency-key"))
            receipt = await self.store.submit(submission)
        except Refusal:
            self.metrics.submissions.labels("refused").inc()
            raise
        except FAILURES:
            self.metrics.submissions.labels("failed").inc()
            raise
        if not receipt.repeated:
            self._to_do.put_nowait((receipt.job, submission.spec))
        self.metrics.submissions.labels("repeated" if receipt.repeated else "new").inc()
        return _json({"job_id": receipt.job})

    async def jobs(self, request: Request) -> Response:
        after, limit = _number(request, "after", 0), _number(request, "limit", LONGEST_PAGE)
        jobs, more = self.store.jobs(after, max(1, min(limit, LONGEST_PAGE)))
        return _json({"jobs": jobs, "next": more})

    async def job(self, request: Request) -> Response:
        found = self.store.job(request.path_params["job_id"])
        if found is None:
            raise Refusal(404, "no such job")
        return _json(found)

    async def account(self, request: Request) -> Response:
        did = request.path_params["did"]
        if not _DID.fullmatch(did):
            raise Refusal(400, "expected a DID such as did:icn:node-a")
        return _json({"balance": self.store.balance(did)})

    # --- the node itself ----------------------------------------------------------------------------------------------

    async def info(self, _request: Request) -> Response:
        totals = self.store.totals()
        text = f"Node DID: {self.store.owner}, Mana: {totals.balance}"
        own = {"did": self.store.owner, "minted_mana": totals.minted}
        return _json({"version": VERSION, "name": self.name, "status_message": text, **own})

    async def status(self, _request: Request) -> Response:
        height = self.store.totals().jobs
        return _json(
            {"is_online": True, "peer_count": self.peers.reachable, "current_block_height": height, "version": VERSION}
        )

    async def health(self, _request: Request) -> Response:
        """Alive and able to read; a lonely node is degraded, one without its database is not healthy."""
        ledger = await self._readable.passes()
        network = not self.peers.urls or self.peers.reachable > 0
        word = {True: "ok", False: "unavailable"}
        body = {
            "status": "unavailable" if not ledger else "ok" if network else "degraded",
            "timestamp": int(time.time()),
            "uptime_seconds": int(time.monotonic() - self.started),
            "checks": {"runtime": "ok", "dag_store": word[ledger], "network": word[network], "mana_ledger": word[ledger]},
        }
        return _json(body, 200 if ledger else 503)

    async def ready(self, _request: Request) -> Response:
        """Able to take work: a real write is synced, a read answers, and the peers were asked at least once."""
        writable, readable = await self._writable.passes(), await self._readable.passes()
        checks = {
            "can_serve_requests": writable and readable,
            "mana_ledger_available": writable,
            "dag_store_available": readable,
            "network_initialized": self.peers.polled,
        }
        ready = all(checks.values())
        return _json({"ready": ready, "timestamp": int(time.time()), "checks": checks}, 200 if ready else 503)

    async def expose(self, _request: Request) -> Response:
        totals = self.store.totals()
        self.metrics.minted.set(totals.minted)
        self.metrics.balance.set(totals.balance)
        self.metrics.jobs.labels("submitted").set(totals.submitted)
        self.metrics.jobs.labels("completed").set(totals.jobs - totals.submitted)
        self.metrics.uptime.set(time.monotonic() - self.started)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # --- the application ----------------------------------------------------------------------------------------------

    def application(self) -> Starlette:
        """The ASGI application with all routes."""
        handlers: list[tuple[str, str, Handler]] = [
            ("POST", "/mesh/submit", self.submit),
            ("GET", "/mesh/jobs", self.jobs),
            ("GET", "/mesh/jobs/{job_id}", self.job),
            ("GET", "/account/{did}/mana", self.account),
            ("GET", "/info", self.info),
            ("GET", "/status", self.status),
            ("GET", "/health", self.health),
            ("GET", "/ready", self.ready),
            ("GET", "/metrics", self.expose),
        ]
        routes = [Route(path, self._counted(path, handler), methods=[method]) for method, path, handler in handlers]
        made = Starlette(routes=routes, lifespan=self.life, exception_handlers={HTTPException: self._unrouted})
        made.router.redirect_slashes = False  # a redirect would be an answer without the interface's shape
        return made

    def _counted(self, path: str, handler: Handler) -> Handler:
        latency = self.metrics.latency.labels(path)
        counters: dict[int, Any] = {}

        async def handle(request: Request) -> Response:
            started = time.perf_counter()
            response = await _answered(handler, request)
            code = response.status_code
            if code not in counters:
                counters[code] = self.metrics.requests.labels(path, str(code))
            counters[code].inc()
            latency.observe(time.perf_counter() - started)
            return response

        return handle

    async def _unrouted(self, _request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        self.metrics.requests.labels("other", str(code)).inc()
        text = {404: "no such path", 405: "this path has another method"}.get(code, str(error))
        return _json({"error": text}, code)


async def _answered(handler: Handler, request: Request) -> Response:
    """The handler's response, with every refusal in the interface's shape."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _json({"error": str(refusal)}, refusal.code)
    except ClientDisconnect:
        return _json({"error": "the request was not sent to its end"}, 400)
    except Undecided as error:
        return _json({"error": str(error)}, 500)
    except (StoreUnavailable, sqlite3.Error) as error:
        return _json({"error": str(error)}, 503, {"Retry-After": "1"})


async def _body(request: Request) -> bytes:
    """The request's body. Raises Refusal with 413 as soon as it is known to be too long."""
    too_long = Refusal(413, f"the body is larger than {LARGEST_BODY} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise too_long
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise too_long
    return bytes(body)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal(400, f"{name}: expected a whole number")
    return int(text)


def _json(value: Any, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Response(body, code, headers, "application/json")
