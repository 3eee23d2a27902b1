"""What probes are told: alive, started, ready, and how each part is.

`/live` says only that the process answers: a node whose database is down is not helped by a restart. `/startup` turns once,
when the work that a crash interrupted was taken up. `/ready` says whether the node can take new work, by bounded probes of the
real dependencies: it can do without its block store, for which receipts wait, but not without its ledger.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from gates.node.errors import FAILURES, Refusal
from gates.node.http import Call, Route, json_answer

VERSION = "0.2.0"


async def live(_call: Call) -> Response:
    """The process answers."""
    return json_answer({"live": True})


async def startup(call: Call) -> Response:
    """Whether the node has begun to serve."""
    started: bool = call.node.started
    return json_answer({"started": started}, 200 if started else 503)


async def health(call: Call) -> Response:
    """How each part is; a node that can't reach any peer is degraded, one without its ledger is not healthy.

    Reads are probed now; of writes it says what the last look found, because every peer asks this once a second.
    """
    up, federation = await call.node.degradation.look("read"), call.node.federation
    network = not federation.peers() or bool(federation.alive())
    ledger, word = up["ledger_read"], {True: "ok", False: "unavailable"}
    whole = network and all(up.values())
    checks = {
        "runtime": "ok",
        "dag_store": word[up["dag_read"] and up["dag_write"]],
        "network": word[network],
        "mana_ledger": word[ledger and up["ledger_write"]],
    }
    body = {
        "status": "unavailable" if not ledger else "ok" if whole else "degraded",
        "timestamp": int(time.time()),
        "uptime_seconds": int(call.node.uptime),
        "checks": checks,
    }
    return json_answer(body, 200 if ledger else 503)


async def ready(call: Call) -> Response:
    """Whether the node can take new work, and what it does worse now."""
    node = call.node
    up = await node.degradation.look()
    checks = {
        "can_serve_requests": node.started and not node.draining and not node.degradation.read_only,
        "mana_ledger_available": up["ledger_write"] and up["ledger_read"],
        "dag_store_available": up["dag_write"] and up["dag_read"],
        "network_initialized": node.federation.polled,
    }
    is_ready = all(passed for name, passed in checks.items() if name != "dag_store_available")
    node.metrics.runtime.ready.set(is_ready)
    body = {"ready": is_ready, "timestamp": int(time.time()), "checks": checks, **_state(node)}
    return json_answer(body, 200 if is_ready else 503)


def _state(node: Any) -> dict[str, Any]:
    """The node's own members of the answer."""
    breakers = node.context.get_circuit_breaker_status()["breakers"]
    depth = None
    with suppress(*FAILURES):
        depth = node.anchorer.depth
    modes = node.degradation.modes
    return {
        "started": node.started,
        "draining": node.draining,
        "read_only": "read_only" in modes,
        "degraded": modes,
        "outbox_depth": depth,
        "breakers": {name: shown["state"] for name, shown in breakers.items()},
    }


async def info(call: Call) -> Response:
    """Who this node is."""
    node, settings = call.node, call.node.settings
    balance = await node.context.balance_resilient(node.identity.did)
    text = f"Node DID: {node.identity.did}, Mana: {balance.available}"
    own = {"did": node.identity.did, "minted_mana": balance.account.minted}
    return json_answer({"version": VERSION, "name": settings.name, "status_message": text, **own})


async def status(call: Call) -> Response:
    """Whether the node serves, and what it knows of the federation."""
    node = call.node
    alive = len(node.federation.alive())
    height = node.height()
    return json_answer({"is_online": True, "peer_count": alive, "current_block_height": height, "version": VERSION})


async def metrics(call: Call) -> Response:
    """All families, for Prometheus."""
    return Response(call.node.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def breakers(call: Call) -> Response:
    """The breakers of the resilient context; only the node's own operator may look."""
    _operator(call)
    return json_answer(call.node.context.get_circuit_breaker_status())


async def reset(call: Call) -> Response:
    """Close every breaker."""
    _operator(call)
    call.node.context.reset_circuit_breakers()
    return json_answer(call.node.context.get_circuit_breaker_status())


def _operator(call: Call) -> None:
    if call.principal.did != call.node.identity.did:
        raise Refusal(403, "only this node's own key or token may ask for this")


ROUTES: tuple[Route, ...] = (
    Route("GET", "/live", live, public=True, priority=0),
    Route("GET", "/startup", startup, public=True, priority=0),
    Route("GET", "/health", health, public=True, priority=0),
    Route("GET", "/ready", ready, public=True, priority=0),
    Route("GET", "/metrics", metrics, public=True, priority=0),
    Route("GET", "/info", info),
    Route("GET", "/status", status),
    Route("GET", "/context/breakers", breakers, priority=0),
    Route("POST", "/context/breakers/reset", reset, priority=0, writes=False),
)
