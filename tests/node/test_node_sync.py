"""Anti-entropy between real stores, over links that fail, lose, spoil and reorder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from block_stores import AUTHOR, MEMORY, BlockNode, Clock, Network, gone, network
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.node.cid import DAG_CBOR, RAW, cid_of, decode, encode
from gates.node.dag import DEFERRED, NEW, REFUSED, Block, checked
from gates.node.errors import Refusal
from gates.node.storage import Transaction
from gates.node.sync import EQUAL, FAILED, MOST_BLOCKS, MOST_BYTES, PULLED

NODES = "abc"
ROUNDS = 4
True_ = Callable[[], Awaitable[bytes]]

PUT = st.tuples(st.just("put"), st.sampled_from(NODES), st.lists(st.integers(0, 40), min_size=1, max_size=6))
FAULTS = st.lists(st.sampled_from(["fine", "fine", "down", "lost", "spoilt", "shortened", "reversed", "nonsense"]), max_size=6)
PULL = st.tuples(st.just("pull"), st.permutations(NODES).map(lambda order: order[0] + order[1]), FAULTS)


async def put(node: BlockNode, payloads: Sequence[bytes]) -> None:
    await node.dag.put_many([checked(data, RAW, AUTHOR) for data in payloads])


def spoiling(faults: Sequence[str]) -> Any:
    """What a link does to one call after the other; fine once the list is at its end."""
    left = list(faults)

    async def spoil(_peer: str, path: str, _body: Any, true: True_) -> bytes:
        fault = left.pop(0) if left else "fine"
        if fault == "down":
            raise gone()
        answer = await true()
        if fault == "lost":
            raise gone()
        if fault == "nonsense":
            return encode({"root": 1, "last": "x", "groups": [], "buckets": [[]], "cids": [7], "more": 3, "blocks": [{}]})
        return spoilt(fault, answer) if path.endswith("blocks") else answer

    return spoil


def spoilt(fault: str, answer: bytes) -> bytes:
    """An answer with blocks, changed on its way."""
    blocks = decode(answer)["blocks"]
    if fault == "spoilt" and blocks:
        blocks[0]["data"] += b"?"
    elif fault == "shortened":
        blocks = blocks[1:]
    elif fault == "reversed":
        blocks = blocks[::-1]
    return encode({"blocks": blocks})


def roots(net: Network) -> set[str]:
    return {node.merkle.root() for node in net.nodes.values()}


async def heal(net: Network) -> None:
    """Rounds over links that are whole, as many as are allowed."""
    net.spoil = None
    for _ in range(ROUNDS):
        if len(roots(net)) == 1:
            return
        for name, node in net.nodes.items():
            for peer in net.nodes.keys() - {name}:
                await node.sync.pull(peer)


@given(steps=st.lists(PUT | PULL, max_size=14))
@settings(max_examples=25, deadline=None)
def test_once_the_links_are_whole_a_few_rounds_make_all_nodes_equal(steps: list[Any]) -> None:
    """After any puts and any rounds over failing links all nodes hold exactly what was put anywhere."""

    async def whole(folder: str) -> None:
        payloads: set[bytes] = set()
        async with network(Path(folder), NODES) as net:
            for kind, who, what in steps:
                if kind == "put":
                    some = [b"%d" % number for number in what]
                    await put(net.nodes[who], some)
                    payloads |= set(some)
                else:
                    net.spoil = spoiling(what)
                    assert await net.nodes[who[0]].sync.pull(who[1]) in (EQUAL, PULLED, FAILED)
            await heal(net)
            assert len(roots(net)) == 1
            for node in net.nodes.values():
                assert set(node.dag.tail(0, 100)[0]) == {cid_of(data) for data in payloads}
                assert [node.dag.get(cid_of(data)) for data in payloads] == list(payloads)

    with TemporaryDirectory(dir=MEMORY) as folder:
        asyncio.run(whole(folder))


def test_equal_nodes_exchange_one_small_answer(tmp_path: Path) -> None:
    """The root alone is asked for when it is the same."""

    async def whole() -> None:
        async with network(tmp_path, "ab") as net:
            for node in net.nodes.values():
                await put(node, [b"same"])
            assert await net.nodes["a"].sync.pull("b") == EQUAL
            assert [path for path, _, _ in net.calls] == ["/peer/dag/root"]
            assert net.nodes["a"].dag.metrics.agreed._value.get() == 1_700_000_000

    asyncio.run(whole())


def test_what_is_new_costs_what_is_new_and_no_walk_through_the_tree(tmp_path: Path) -> None:
    """After a first round the peer's newest blocks are asked for by their number."""

    async def whole() -> None:
        async with network(tmp_path, "ab") as net:
            await put(net.nodes["b"], [b"%d" % number for number in range(50)])
            assert await net.nodes["a"].sync.pull("b") == PULLED
            net.calls.clear()
            await put(net.nodes["a"], [b"only here"])
            await put(net.nodes["b"], [b"new"])
            assert await net.nodes["a"].sync.pull("b") == PULLED
            assert [path.rpartition("/")[2] for path, _, _ in net.calls] == ["root", "tail", "blocks"]
            assert net.nodes["a"].dag.has(cid_of(b"new"))

    asyncio.run(whole())


def test_a_peer_that_lost_its_store_is_compared_by_the_tree(tmp_path: Path) -> None:
    """Numbers of a store that began anew say nothing, so what is missing is found without them."""

    async def whole() -> None:
        async with network(tmp_path / "old", "ab") as net, network(tmp_path / "new", "b") as later:
            await put(net.nodes["b"], [b"%d" % number for number in range(20)])
            await net.nodes["a"].sync.pull("b")
            net.nodes["b"] = later.nodes["b"]
            await put(later.nodes["b"], [b"new %d" % number for number in range(30)])
            for _ in range(ROUNDS):
                await net.nodes["a"].sync.pull("b")
            assert net.nodes["a"].dag.missing(later.nodes["b"].dag.tail(0, 100)[0]) == []

    asyncio.run(whole())


def test_bytes_that_do_not_match_are_refused_and_counted_and_had_from_another(tmp_path: Path) -> None:
    """A peer that gives other bytes for a CID, or a block that nobody asked for, gets nothing stored."""

    async def whole() -> None:
        async with network(tmp_path, NODES) as net:
            for name in "bc":
                await put(net.nodes[name], [b"true", b"other"])

            async def lie(peer: str, path: str, _body: Any, true: True_) -> bytes:
                if peer != "b" or not path.endswith("blocks"):
                    return await true()
                return encode(
                    {
                        "blocks": [
                            {"cid": cid_of(b"true"), "data": b"false", "author": AUTHOR},
                            {"cid": cid_of(b"unasked"), "data": b"unasked", "author": AUTHOR},
                        ]
                    }
                )

            net.spoil, node = lie, net.nodes["a"]
            await node.sync.pull("b")
            assert (node.dag.last, node.counted(REFUSED)) == (0, 1)
            await node.sync.pull("c")
            assert node.dag.get(cid_of(b"true")) == b"true"
            assert (node.dag.last, node.counted(NEW)) == (2, 2)

    asyncio.run(whole())


@pytest.mark.parametrize(
    "block",
    [{"data": 10**12, "author": AUTHOR}, {"data": b"x", "author": "x" * 1000}, {"data": "x", "author": AUTHOR}, {"data": b"x"}],
    ids=["a size for bytes", "an author without end", "text for bytes", "no author"],
)
def test_a_block_of_the_wrong_shape_ends_the_round_and_stores_nothing(tmp_path: Path, block: dict[str, Any]) -> None:
    """Whatever a peer puts where bytes and a DID belong costs nothing and raises nothing."""

    async def whole() -> None:
        async with network(tmp_path, "ab") as net:
            await put(net.nodes["b"], [b"x"])

            async def wrong(_peer: str, path: str, _body: Any, true: True_) -> bytes:
                return encode({"blocks": [{"cid": cid_of(b"x"), **block}]}) if path.endswith("blocks") else await true()

            net.spoil = wrong
            assert await net.nodes["a"].sync.pull("b") == FAILED
            assert net.nodes["a"].dag.last == 0
            net.spoil = None
            assert await net.nodes["a"].sync.pull("b") == PULLED
            assert net.nodes["a"].dag.last == 1

    asyncio.run(whole())


def test_batches_are_bounded_in_blocks_and_bytes(tmp_path: Path) -> None:
    """Many small blocks and some large ones come in requests of at most 256 and answers of at most about 1 MiB."""

    async def whole() -> None:
        async with network(tmp_path, "ab") as net:
            large = [bytes([number]) * 400_000 for number in range(7)]
            await put(net.nodes["b"], [b"%d" % number for number in range(600)] + large)
            assert await net.nodes["a"].sync.pull("b") == PULLED
            assert len(roots(net)) == 1
            fetched = [(body, answer) for path, body, answer in net.calls if path.endswith("blocks")]
            assert all(len(body["cids"]) <= MOST_BLOCKS for body, _ in fetched)
            assert all(sum(len(block["data"]) for block in decode(answer)["blocks"]) <= MOST_BYTES for _, answer in fetched)
            assert len(fetched) >= 5

    asyncio.run(whole())


def test_more_than_a_batch_of_cids_is_refused_by_the_peer(tmp_path: Path) -> None:
    """A caller can't make a node read more than a batch, or a bucket that there is not."""

    async def whole() -> None:
        async with network(tmp_path, "ab") as net:
            for path, body in [
                ("blocks", {"cids": [cid_of(b"x")] * (MOST_BLOCKS + 1)}),
                ("blocks", {"cids": "x"}),
                ("cids", {"buckets": [4096], "after": None}),
                ("cids", {"buckets": [True], "after": None}),
                ("cids", {"buckets": [0] * 4097, "after": None}),
                ("buckets", {"groups": [-1]}),
                ("tail", {"after": -1}),
            ]:
                with pytest.raises(Refusal) as caught:
                    await net.call("b", "POST", f"/peer/dag/{path}", body, idempotent=True, timeout=1.0)
                assert caught.value.code == 422

    asyncio.run(whole())


def test_a_block_that_can_not_be_judged_yet_is_asked_for_again_and_a_wrong_one_is_left_alone(tmp_path: Path) -> None:
    """The early block is stored once it can be judged; the wrong one is not fetched with every round."""
    known = set()

    def judge(_tx: Transaction, block: Block) -> None:
        if block.document["fate"] == "wrong":
            raise Refusal(422, "wrong")
        if "founders" not in known:
            raise Refusal(503, "too early")

    async def whole() -> None:
        clock = Clock()
        async with network(tmp_path, "ab", clock=clock, projectors={"test": judge}) as net:
            node, peer = net.nodes["a"], net.nodes["b"]
            peer.dag._projectors = {}  # it knows more than the other
            early, wrong = (encode({"type": "test", "fate": fate}) for fate in ("early", "wrong"))
            for data in (early, wrong):
                await peer.dag.put(data, DAG_CBOR, AUTHOR)
            for _ in range(3):
                await node.sync.pull("b")
            assert (node.dag.last, node.counted(DEFERRED), node.counted(REFUSED)) == (0, 1, 1)
            known.add("founders")
            clock.milliseconds += 1_001
            await node.sync.pull("b")
            assert node.dag.tail(0, 9)[0] == [cid_of(early, DAG_CBOR)]
            assert node.counted(REFUSED) == 1

    asyncio.run(whole())


def test_the_rounds_of_a_running_node_reach_its_peers(tmp_path: Path) -> None:
    """Started, every node pulls by itself, from one that is alive."""

    async def whole() -> None:
        async with network(tmp_path, NODES) as net:
            for name, node in net.nodes.items():
                await put(node, [name.encode()])
                node.sync._every = 0.001
                node.sync.start()
            async with asyncio.timeout(10):
                while len(roots(net)) > 1:
                    await asyncio.sleep(0.001)
            for node in net.nodes.values():
                await node.sync.stop()
            assert {node.dag.last for node in net.nodes.values()} == {3}

    asyncio.run(whole())
