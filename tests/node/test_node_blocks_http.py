"""Blocks over HTTP: shapes, codes and bad input at the handlers, and real nodes that become equal."""

from __future__ import annotations

import json
import signal
import time
from base64 import b64decode, b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from block_stores import AUTHOR, with_dag
from federation_process import Federation, running_federation
from waiting import await_that

from gates.node.api_dag import ROUTES
from gates.node.cid import DAG_CBOR, RAW, Cid, cid_of, encode, link
from gates.node.dag import Dag
from gates.node.errors import Refusal
from gates.node.http import Call
from gates.node.merkle import Merkle
from gates.node.storage import SqliteStorage

HELLO = b64encode(b"hello").decode()
PRINCIPAL = SimpleNamespace(did=AUTHOR, kind="key", peer=False)


def asked(tmp_path: Path, *requests: tuple[str, str, Any]) -> list[Any]:
    """The decoded answers of one node to *requests*, one after the other; a refusal is (code, text)."""

    async def use(blocks: Dag, store: SqliteStorage) -> list[Any]:
        node, answers = SimpleNamespace(dag=blocks, merkle=Merkle(blocks, store)), []
        for method, path, body in requests:
            handler = next(route.handler for route in ROUTES if (route.method, route.path) == (method, path))
            try:
                answer = await handler(Call(node, SimpleNamespace(), PRINCIPAL, json.dumps(body).encode()))  # type: ignore[arg-type]
                answers.append(json.loads(bytes(answer.body)))
            except Refusal as refusal:
                answers.append((refusal.code, str(refusal)))
        return answers

    found: list[Any] = with_dag(tmp_path / "dag.db", use)
    return found


def test_a_block_goes_in_and_comes_out_in_the_shapes_of_the_interface(tmp_path: Path) -> None:
    """The CID as a string, base64 bytes, metadata, the CID in its parts for pins, and the root."""
    cid = cid_of(b"hello")
    parts = {"version": 1, "codec": RAW, "hash_alg": 0x12}
    put, got, meta, pinned, again, unpinned, root = asked(
        tmp_path,
        ("POST", "/dag/put", {"data": HELLO}),
        ("POST", "/dag/get", {"cid": cid}),
        ("POST", "/dag/meta", {"cid": cid}),
        ("POST", "/dag/pin", {"cid": cid, "ttl": 3600}),
        ("POST", "/dag/pin", {"cid": cid, "ttl": None}),
        ("POST", "/dag/unpin", {"cid": cid}),
        ("GET", "/dag/root", None),
    )
    assert (put, got) == (cid, HELLO)
    assert meta == {"size": 5, "timestamp": 1_700_000_000, "author_did": AUTHOR, "links": [], "pinned": False}
    assert {name: pinned[name] for name in parts} == parts
    assert str(Cid(RAW, b64decode(pinned["hash_bytes"]))) == cid
    assert pinned == again == unpinned
    assert (len(root["root"]), root["blocks"]) == (64, 1)


def test_a_document_shows_what_it_links_to(tmp_path: Path) -> None:
    """With the codec named, canonical DAG-CBOR is stored under its own CID."""
    data = encode({"parent": link(cid_of(b"hello"))})
    cid, meta = asked(
        tmp_path,
        ("POST", "/dag/put", {"data": b64encode(data).decode(), "codec": "dag-cbor"}),
        ("POST", "/dag/meta", {"cid": cid_of(data, DAG_CBOR)}),
    )
    assert cid == cid_of(data, DAG_CBOR)
    assert meta["links"] == [{"cid": cid_of(b"hello")}]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/dag/put", {}, 422),
        ("/dag/put", [], 422),
        ("/dag/put", {"data": 7}, 422),
        ("/dag/put", {"data": "é"}, 422),
        ("/dag/put", {"data": "abc"}, 422),
        ("/dag/put", {"data": HELLO, "codec": "dag-pb"}, 422),
        ("/dag/put", {"data": HELLO, "codec": "dag-cbor"}, 422),
        ("/dag/put", {"data": HELLO, "credential_proof": {"proof": "0x1234"}}, 422),
        ("/dag/put", {"data": HELLO, "more": 1}, 422),
        ("/dag/get", {"cid": "bafyblockcid"}, 400),
        ("/dag/get", {"cid": 7}, 400),
        ("/dag/get", {"cid": cid_of(b"absent")}, 404),
        ("/dag/get", {"cid": str(Cid(0x70, bytes(32)))}, 404),
        ("/dag/meta", {}, 422),
        ("/dag/meta", {"cid": cid_of(b"absent")}, 404),
        ("/dag/pin", {"cid": cid_of(b"absent")}, 404),
        ("/dag/pin", {"cid": cid_of(b"hello"), "ttl": -1}, 422),
        ("/dag/pin", {"cid": cid_of(b"hello"), "ttl": 1.5}, 422),
        ("/dag/pin", {"cid": cid_of(b"hello"), "ttl": 2**53}, 422),
        ("/dag/unpin", {"cid": cid_of(b"absent")}, 404),
    ],
    ids=str,
)
def test_bad_input_is_refused_and_nothing_is_stored(tmp_path: Path, path: str, body: Any, code: int) -> None:
    """With the documented code, whatever is wrong with it."""
    refused, root = asked(tmp_path, ("POST", path, body), ("GET", "/dag/root", None))
    assert refused[0] == code
    assert root["blocks"] == 0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two real nodes."""
    with running_federation(tmp_path_factory.mktemp("blocks"), 2) as federation:
        yield federation


@pytest.mark.end_to_end
def test_a_node_that_was_away_has_every_block_afterwards(two: Federation) -> None:
    """Blocks put on both sides of a killed and restarted node reach the other side, and the roots are equal."""
    one, other = two["node-a"], two["node-b"]
    before = other.good("POST", "/dag/put", {"data": b64encode(b"before").decode()})
    other.end(signal.SIGKILL)
    data = [f"while it was away {number}".encode() for number in range(300)]
    cids = [one.good("POST", "/dag/put", {"data": b64encode(each).decode()}) for each in data]
    other.start()
    await_that(other.ready, "node-b is ready again")
    await_that(lambda: one.good("GET", "/dag/root") == other.good("GET", "/dag/root"), "equal roots")
    assert other.good("GET", "/dag/root")["blocks"] == 301
    assert b64decode(other.good("POST", "/dag/get", {"cid": cids[-1]})) == data[-1]
    assert b64decode(one.good("POST", "/dag/get", {"cid": before})) == b"before"


@pytest.mark.end_to_end
def test_only_nodes_are_told_what_peers_ask(two: Federation) -> None:
    """Who shows the API key is no node, and is refused the way between nodes."""
    assert two["node-a"].ask("POST", "/peer/dag/root", {})[0] in (401, 403)


@pytest.mark.end_to_end
def test_a_node_with_a_hundred_thousand_blocks_opens_in_a_second(tmp_path: Path) -> None:
    """Opening reads no blocks; the tree is computed from the keys alone."""

    async def fill(_blocks: Dag, store: SqliteStorage) -> None:
        rows = [(Cid(RAW, number.to_bytes(32, "big")), number) for number in range(100_000)]
        keys = [(cid.digest[::-1] + bytes((RAW,)), AUTHOR, 0, bytes(300)) for cid, _ in rows]
        statement = "INSERT INTO blocks (key, author, at, data) VALUES (?, ?, ?, ?)"
        await store.write(lambda tx: tx.executemany(statement, keys).rowcount)

    async def use(blocks: Dag, store: SqliteStorage) -> int:
        tree = Merkle(blocks, store)
        tree.root()
        return tree.blocks

    with_dag(tmp_path / "dag.db", fill)
    started = time.process_time()
    assert with_dag(tmp_path / "dag.db", use) == 100_000
    assert time.process_time() - started < 1.0
