"""Membership over HTTP: who the peers are, joining and leaving, and the handshake between nodes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gates.node.cid import decode, encode
from gates.node.directory import Peer
from gates.node.errors import PeerUnavailable, Refusal
from gates.node.federation import Federation
from gates.node.http import Call, Route, json_answer, text
from gates.node.identity import signed
from gates.node.peer_client import CBOR, HELLO
from gates.node.records import checked_url

_LONGEST = 300


async def peers(call: Call) -> Response:
    """The DIDs of the other members."""
    return json_answer(_dids(call.node.federation.peers()))


async def connected(call: Call) -> Response:
    """The DIDs of the other members that answer."""
    return json_answer(_dids(call.node.federation.alive()))


async def own(call: Call) -> Response:
    """This node's DID."""
    return json_answer({"peer_id": call.node.federation.identity.did})


async def status(call: Call) -> Response:
    """The members and how they are; `refused` tells who said to be somebody else."""
    federation: Federation = call.node.federation
    members = federation.peers()
    shown = [
        {"name": each.name, "did": each.did, "url": each.url, "state": each.state, "founding": each.founding}
        for each in members
    ]
    more = {
        "name": federation.name,
        "left": federation.left,
        "founding": list(federation.founding),
        "refused": federation.refused,
    }
    return json_answer({"peer_count": len(members), "peers": _dids(members), "members": shown, **more})


async def join(call: Call) -> Response:
    """Join the federation of the node at the URL `peer`."""
    url = _operator(call)
    await call.node.federation.join(url)
    return json_answer({"joined": url})


async def add(call: Call) -> Response:
    """Meet the member at the URL `peer`, which this node does not know, or no more."""
    url = _operator(call)
    await call.node.federation.add(url)
    return json_answer({"peer": url})


async def leave(call: Call) -> Response:
    """Leave the federation when `peer` is this node; else know the member `peer` (name, DID or URL) no more."""
    federation: Federation = call.node.federation
    named = _operator(call)
    if named in (federation.name, federation.identity.did, federation.url):
        await federation.leave()
    else:
        await federation.evict(_member(federation, named).name)
    return json_answer({"left": named})


async def connect(call: Call) -> Response:
    """Shake hands with the member `peer` (name, DID or URL) now, and say whether that worked."""
    federation: Federation = call.node.federation
    member = _member(federation, _operator(call))
    try:
        await federation.greet(member)
    except (PeerUnavailable, Refusal) as error:
        return json_answer({"connected": False, "reason": str(error)})
    return json_answer({"connected": True})


async def hello(call: Call) -> Response:
    """The handshake: signed records for signed records. Anybody with a key may ask; the records say who is a member."""
    if call.principal.kind != "signature":
        raise Refusal(401, "expected a greeting signed by the node that it is from (RFC 9421)")
    federation: Federation = call.node.federation
    greeting = decode(call.body)
    if not isinstance(greeting, dict) or not isinstance(greeting.get("nonce"), str) or len(greeting["nonce"]) > 100:
        raise Refusal(422, "a greeting: expected a map with a nonce of at most 100 characters")
    answer = await federation.welcome(call.principal.did, greeting)
    whole: dict[str, Any] = {**answer, "nonce": greeting["nonce"], "to": call.principal.did, "did": federation.identity.did}
    return Response(encode(signed(HELLO, whole, federation.identity)), media_type=CBOR)


def _operator(call: Call) -> str:
    """The `peer` of a request that only this node's own operator may make."""
    if call.principal.did != call.node.federation.identity.did:
        raise Refusal(403, "only this node's own key or token may change its federation")
    return text(call.json(["peer"]), "peer", longest=_LONGEST)


def _member(federation: Federation, named: str) -> Peer:
    found = federation.peer(named) or next((each for each in federation.peers() if each.url == named.rstrip("/")), None)
    if found is None:
        if "://" in named or not named.startswith("did:"):
            _no_url(named)
        raise Refusal(404, f"no member {named[:100]!r}")
    return found


def _no_url(named: str) -> None:
    """Refuse with 422 what looks like the address of something that is no node."""
    if "/" in named or "@" in named:
        checked_url(named)


def _dids(members: list[Peer]) -> list[str]:
    return [each.did for each in members if each.did is not None]


ROUTES: tuple[Route, ...] = (
    Route("GET", "/federation/peers", peers),
    Route("POST", "/federation/peers", add, writes=True),
    Route("POST", "/federation/join", join, writes=True),
    Route("POST", "/federation/leave", leave, writes=True),
    Route("GET", "/federation/status", status),
    Route("GET", "/network/peers", connected),
    Route("GET", "/network/local-peer-id", own),
    Route("POST", "/network/connect", connect, writes=False),
    Route("POST", "/peer/hello", hello, writes=False, priority=0),
)
