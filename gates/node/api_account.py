"""Mana over HTTP: balances, opening an account, spending, and the audit of the ledger."""

from __future__ import annotations

import re
import secrets
from typing import Any

from starlette.responses import Response

from gates.node import ledger
from gates.node.context import Balance
from gates.node.errors import Refusal
from gates.node.http import Call, Route, fields, integer, json_answer, load_json
from gates.node.identity import is_did
from gates.node.ledger import Account
from gates.node.metrics_mesh import MeshMetrics, unhappy
from gates.node.storage import Transaction
from gates.node.submission import checked_key

_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]{1,200}")


def require_home(call: Call, did: str) -> None:
    """Raises Refusal with 421, which names the node that has the authority over the mana of *did*, when this one has not."""
    if not call.node.federation.is_home(did):
        home = call.node.federation.home(did)
        call.node.metrics.mesh.misdirected.labels(home).inc()
        raise Refusal(421, f"the account of {did} is at home on {home}, which alone can say and move its mana", home=home)


async def mana(call: Call) -> Response:
    """The balance of an account, `me` for the caller's, as it is now, or with its age when the ledger can't be read."""
    metrics: MeshMetrics = call.node.metrics.mesh
    with unhappy(metrics.balances):
        did = _asked_for(call)
        require_home(call, did)
        balance: Balance = await call.node.context.balance_resilient(did)
    metrics.balances.labels("fresh" if balance.age is None else "stale").inc()
    aged = {} if balance.age is None else {"stale": True, "age_seconds": balance.age}
    return json_answer({**shown(balance.account, balance.available), **aged})


def _asked_for(call: Call) -> str:
    did = call.path("did")
    if did == "me":
        return call.principal.did
    if not _DID.fullmatch(did):
        raise Refusal(400, "expected a DID such as did:key:z6Mk…, or me")
    if not is_did(did):
        raise Refusal(404, f"{did} has no account; accounts are those of did:key with Ed25519")
    return did


def shown(account: Account, available: int) -> dict[str, Any]:
    """An account in the shape of the interface; what was *available* includes what has grown since it was settled."""
    return {
        "did": account.did,
        "balance": available,
        "reserved": account.reserved,
        "minted": account.minted,
        "regenerated": account.regenerated + available - account.balance,
        "burned": account.burned,
        "reputation": account.reputation,
        "capacity": account.capacity,
    }


async def open_account(call: Call) -> Response:
    """Open the caller's account with the grant that every account has once."""
    metrics: MeshMetrics = call.node.metrics.mesh
    with unhappy(metrics.opened):
        fields(load_json(call.body or b"{}"))
        did, now = call.principal.did, call.node.now()
        require_home(call, did)
        grant = call.node.settings.grant

        def change(tx: Transaction) -> tuple[bool, Account]:
            return ledger.open_account(tx, did, grant, now), ledger.settle(tx, did, now)

        new, account = await call.node.context.ledger.write(change)
    metrics.opened.labels("new" if new else "known").inc()
    return json_answer({**shown(account, account.balance), "opened": new})


async def spend(call: Call) -> Response:
    """Burn `amount` of the caller's mana, once an `Idempotency-Key`."""
    amount = integer(call.json(["amount"]), "amount", lowest=1, highest=ledger.HIGHEST_AMOUNT)
    did, key = call.principal.did, checked_key(call.header("idempotency-key"), secrets.token_hex(16))
    require_home(call, did)
    await call.node.context.spend_mana_resilient(did, amount, key=key)
    return json_answer({"spent": amount, "balance": await call.node.context.get_mana_resilient(did)})


async def audit(call: Call) -> Response:
    """The sums of all accounts at home here; `balanced` when they add up, and `outbox`: blocks that are not anchored yet."""
    metrics: MeshMetrics = call.node.metrics.mesh
    with metrics.audit_seconds.time():
        sums = ledger.audit(call.node.context.ledger.read)
    balanced = sums["minted"] + sums["regenerated"] - sums["burned"] == sums["balances"] + sums["reserved"]
    balanced = balanced and sums["reserved"] == sums["held"]
    metrics.audits.labels("balanced" if balanced else "imbalanced").inc()
    return json_answer({**sums, "balanced": balanced, "outbox": call.node.anchorer.depth})


ROUTES: tuple[Route, ...] = (
    Route("GET", "/account/{did}/mana", mana, priority=3),
    Route("POST", "/account/open", open_account, priority=3),
    Route("POST", "/account/spend", spend, priority=3),
    Route("GET", "/ledger/audit", audit, priority=5),
)
