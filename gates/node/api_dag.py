"""Blocks over HTTP: what clients put and get, and what peers ask for to become equal."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any

from starlette.responses import Response

from gates.node.cid import CODECS, encode, parse
from gates.node.dag import LONGEST_TTL, Dag, key_of
from gates.node.errors import Refusal
from gates.node.http import LONGEST_PAGE, Call, Route, integer, json_answer, text
from gates.node.merkle import BUCKETS, LARGEST_PAGE, WIDTH, Merkle
from gates.node.sync import MOST_BLOCKS, MOST_BYTES

_CBOR = "application/vnd.ipld.dag-cbor"


async def put(call: Call) -> Response:
    """Store a block; the answer is its CID."""
    body = call.json(["data"], ["codec", "credential_proof", "revocation_proof"])
    for proof in ("credential_proof", "revocation_proof"):
        if body.get(proof) is not None:
            raise Refusal(422, f"{proof}: this node verifies no such proofs; leave it out")
    codec = CODECS.get(text(body, "codec", default="raw"))
    if codec is None:
        raise Refusal(422, f"codec: expected one of {', '.join(CODECS)}")
    cid = await _dag(call).put(_decoded(body["data"]), codec, call.principal.did)
    return json_answer(cid)


async def get(call: Call) -> Response:
    """A block's bytes, base64-encoded."""
    return json_answer(b64encode(_dag(call).get(_cid(call))).decode())


async def meta(call: Call) -> Response:
    """What is known of a block beside its bytes."""
    return json_answer(_dag(call).meta(_cid(call)))


async def pin(call: Call) -> Response:
    """Pin a block, for `ttl` seconds when given."""
    body = call.json(["cid"], ["ttl"])
    ttl = None if body.get("ttl") is None else integer(body, "ttl", highest=LONGEST_TTL)
    return json_answer((await _dag(call).pin(_named(body), ttl)).shown())


async def unpin(call: Call) -> Response:
    """Take a pin away."""
    return json_answer((await _dag(call).unpin(_cid(call))).shown())


async def root(call: Call) -> Response:
    """The Merkle root and the number of blocks under it."""
    return json_answer({"root": _merkle(call).root(), "blocks": _merkle(call).blocks})


async def blocks(call: Call) -> Response:
    """A page of all blocks, in the order in which they came here; `next` is the `after` of the page behind it."""
    after, limit = call.number("after", 0), call.number("limit", MOST_BLOCKS, lowest=1)
    page, more = _dag(call).page(after, min(limit, LONGEST_PAGE), MOST_BYTES)
    shown = [{"cid": cid, "data": b64encode(data).decode()} for cid, data in page]
    return json_answer({"blocks": shown, "next": more})


# --- what peers ask ---------------------------------------------------------------------------------------------------


async def peer_root(call: Call) -> Response:
    """The root, and the number of the newest block: at least those up to it are under the root."""
    call.json()
    newest = _dag(call).last
    return _document({"root": _merkle(call).root(), "blocks": _merkle(call).blocks, "last": newest})


async def peer_buckets(call: Call) -> Response:
    """The hashes of all groups, or of the buckets of the `groups` that are asked for."""
    groups = call.json([], ["groups"]).get("groups")
    if groups is None:
        return _document({"groups": _merkle(call).groups()})
    return _document({"buckets": [_merkle(call).buckets(number) for number in _numbers(groups, "groups", WIDTH)]})


async def peer_cids(call: Call) -> Response:
    """A page of the CIDs in `buckets`, beyond the CID `after`."""
    body = call.json(["buckets", "after"])
    after = b"" if body["after"] is None else key_of(parse(body["after"]))
    cids, more = _merkle(call).cids(_numbers(body["buckets"], "buckets", BUCKETS), after)
    return _document({"cids": cids, "more": more})


async def peer_tail(call: Call) -> Response:
    """A page of the CIDs beyond the block number `after`, in the order in which they came here."""
    cids, last = _dag(call).tail(integer(call.json(["after"]), "after"), LARGEST_PAGE)
    return _document({"cids": cids, "last": last})


async def peer_blocks(call: Call) -> Response:
    """The blocks of `cids` that are here, as many as fit into an answer, and at least one."""
    cids = call.json(["cids"])["cids"]
    if not isinstance(cids, list) or len(cids) > MOST_BLOCKS:
        raise Refusal(422, f"cids: expected a list of at most {MOST_BLOCKS} CIDs")
    blocks = _dag(call).bundle(cids, MOST_BYTES)
    metrics = _dag(call).metrics
    metrics.served.inc(len(blocks))
    metrics.served_bytes.inc(sum(len(block.data) for block in blocks))
    return _document({"blocks": [{"cid": block.cid, "data": block.data, "author": block.author} for block in blocks]})


def _dag(call: Call) -> Dag:
    found: Dag = call.node.dag
    return found


def _merkle(call: Call) -> Merkle:
    found: Merkle = call.node.merkle
    return found


def _document(document: dict[str, Any]) -> Response:
    return Response(encode(document), media_type=_CBOR)


def _cid(call: Call) -> str:
    return _named(call.json(["cid"]))


def _named(body: dict[str, Any]) -> str:
    return str(parse(body["cid"]))


def _decoded(data: Any) -> bytes:
    try:
        return b64decode(data, validate=True)
    except (TypeError, ValueError, NotBase64):
        raise Refusal(422, "data: expected a base64 string") from None


def _numbers(values: Any, name: str, below: int) -> list[int]:
    if (
        not isinstance(values, list)
        or len(values) > below
        or not all(type(number) is int and 0 <= number < below for number in values)
    ):
        raise Refusal(422, f"{name}: expected a list of numbers below {below}")
    return values


ROUTES: tuple[Route, ...] = (
    Route("POST", "/dag/put", put, writes=False),
    Route("POST", "/dag/get", get, writes=False),
    Route("POST", "/dag/meta", meta, writes=False),
    Route("POST", "/dag/pin", pin, writes=False),
    Route("POST", "/dag/unpin", unpin, writes=False),
    Route("GET", "/dag/root", root),
    Route("GET", "/dag/blocks", blocks, priority=5),
    Route("POST", "/peer/dag/root", peer_root, peer=True, priority=1),
    Route("POST", "/peer/dag/buckets", peer_buckets, peer=True, priority=1),
    Route("POST", "/peer/dag/cids", peer_cids, peer=True, priority=1),
    Route("POST", "/peer/dag/tail", peer_tail, peer=True, priority=1),
    Route("POST", "/peer/dag/blocks", peer_blocks, peer=True, priority=1),
)
