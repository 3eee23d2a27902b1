"""Membership between real nodes on loopback: meeting, pinning, joining, leaving, and what is refused."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from small_node import KEY, SmallNode, listening, until

from gates.node.auth import Clients, Principal
from gates.node.cid import encode
from gates.node.detector import State
from gates.node.errors import Refusal
from gates.node.identity import Identity
from gates.node.records import checked_url, home_of, make, parse
from gates.node.signatures import Message, sign

pytestmark = pytest.mark.end_to_end

NAMES = ("node-a", "node-b", "node-c")


def urls(listeners: Mapping[str, socket.socket]) -> dict[str, str]:
    """URL by name."""
    return {name: f"http://127.0.0.1:{listener.getsockname()[1]}" for name, listener in listeners.items()}


@asynccontextmanager
async def federation(folder: Path, names: tuple[str, ...] = NAMES, **settings: Any) -> AsyncIterator[dict[str, SmallNode]]:
    """Founding nodes that have all met each other."""
    async with AsyncExitStack() as stack:
        listeners = {name: listening() for name in names}
        known, nodes = urls(listeners), {}
        for seed, (name, listener) in enumerate(listeners.items()):
            peers = {other: url for other, url in known.items() if other != name}
            nodes[name] = SmallNode(folder / name, name, seed, listener, peers, **settings)
        for node in nodes.values():
            await stack.enter_async_context(node.running())
        await until(lambda: all(len(node.federation.alive()) == len(names) - 1 for node in nodes.values()))
        yield nodes


def alone(folder: Path, name: str = "node-x", seed: int = 90, **settings: Any) -> SmallNode:
    """A node that knows nobody."""
    return SmallNode(folder / name, name, seed, listening(), {}, **settings)


async def asked(node: SmallNode, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any]:
    """Status and JSON that *node* answers its operator."""
    headers = {"x-api-key": key}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, node.url + path, json=body, headers=headers) as answer,
    ):
        return answer.status, json.loads(await answer.read())


def members(node: SmallNode) -> list[str]:
    """The names of the peers that *node* knows."""
    return [peer.name for peer in node.federation.peers()]


def test_founding_nodes_meet_and_agree_on_every_home(tmp_path: Path) -> None:
    """Each knows the others' DIDs; a user's home is the same everywhere, and a node's own account is at home with it."""

    async def scenario() -> None:
        async with federation(tmp_path) as nodes:
            users = [Identity.from_seed(bytes([100 + number]) * 32).did for number in range(60)]
            views = {tuple(node.federation.home(user) for user in users) for node in nodes.values()}
            assert len(views) == 1
            assert set(views.pop()) == set(NAMES)
            for node in nodes.values():
                assert {view.federation.home(node.identity.did) for view in nodes.values()} == {node.settings.name}
                assert node.federation.is_home(node.identity.did)
                assert node.federation.dids() == {name: each.identity.did for name, each in nodes.items()}
                assert sum(view.federation.known(node.identity.did) for view in nodes.values()) == 2

    asyncio.run(scenario())


def test_who_joins_is_known_to_all_and_still_is_after_a_restart(tmp_path: Path) -> None:
    """Joining at one node is enough; accounts keep their homes; the newcomer learns the founders, and all remember."""

    async def scenario() -> None:
        user = Identity.from_seed(b"u" * 32).did
        async with federation(tmp_path) as nodes:
            before = nodes["node-a"].federation.home(user)
            async with alone(tmp_path).running() as newcomer:
                assert await asked(newcomer, "POST", "/federation/join", {"peer": nodes["node-b"].url}) == (
                    200,
                    {"joined": nodes["node-b"].url},
                )
                everybody = [*nodes.values(), newcomer]
                await until(lambda: all(len(node.federation.alive()) == 3 for node in everybody))
                assert {node.federation.home(user) for node in everybody} == {before}
                assert {node.federation.home(newcomer.identity.did) for node in everybody} == {"node-x"}
            places = {node.settings.name: node.url for node in everybody}
        again = alone(tmp_path)
        assert members(again) == list(NAMES)
        assert again.federation.founding == NAMES
        again.store.close()
        peers = {name: places[name] for name in ("node-b", "node-c")}
        founder = SmallNode(tmp_path / "node-a", "node-a", 0, listening(), peers)
        assert members(founder) == ["node-b", "node-c", "node-x"]
        assert founder.federation.known(again.identity.did)
        founder.store.close()
        for listener in (again._listener, founder._listener):
            listener.close()

    asyncio.run(scenario())


def test_news_do_not_wait_for_the_next_poll(tmp_path: Path) -> None:
    """With a minute between polls the founders have met at once, and who joins at one is known to all a moment later."""

    async def scenario() -> None:
        slow = {"peer_pace_ms": 60_000}
        async with federation(tmp_path, **slow) as nodes, alone(tmp_path, **slow).running() as newcomer:
            await newcomer.federation.join(nodes["node-a"].url)
            await until(lambda: all("node-x" in members(node) for node in nodes.values()))

    asyncio.run(scenario())


def test_who_leaves_is_gone_everywhere_and_may_come_back(tmp_path: Path) -> None:
    """The leaver tells one, and all hear it; its requests are no longer a peer's; joining again undoes it."""

    async def scenario() -> None:
        async with federation(tmp_path) as nodes, alone(tmp_path).running() as newcomer:
            founders = list(nodes.values())
            await newcomer.federation.join(nodes["node-a"].url)
            await until(lambda: all("node-x" in members(node) for node in founders))
            assert (await asked(newcomer, "POST", "/federation/leave", {"peer": newcomer.url}))[0] == 200
            await until(lambda: not any("node-x" in members(node) for node in founders))
            assert members(newcomer) == []
            assert not any(node.federation.known(newcomer.identity.did) for node in founders)
            status = (await asked(newcomer, "GET", "/federation/status"))[1]
            assert (status["left"], status["peer_count"]) == (True, 0)
            await newcomer.federation.join(nodes["node-c"].url)
            await until(lambda: all("node-x" in members(node) for node in founders))

    asyncio.run(scenario())


def test_a_node_that_left_stays_away_after_a_restart(tmp_path: Path) -> None:
    """Its books say so, and it greets nobody."""

    async def scenario() -> None:
        async with federation(tmp_path) as nodes:
            async with alone(tmp_path).running() as newcomer:
                await newcomer.federation.join(nodes["node-a"].url)
                await newcomer.federation.leave()
            async with alone(tmp_path).running() as again:
                await until(lambda: again.federation.polled)
                assert again.federation.left
                assert members(again) == []
                assert "node-x" not in members(nodes["node-a"])

    asyncio.run(scenario())


def test_an_evicted_member_is_forgotten_here_alone_until_it_is_added(tmp_path: Path) -> None:
    """The operator's word counts more than what others pass on."""

    async def scenario() -> None:
        async with federation(tmp_path) as nodes:
            first, evicted = nodes["node-a"], nodes["node-c"]
            assert (await asked(first, "POST", "/federation/leave", {"peer": "node-c"}))[0] == 200
            assert members(first) == ["node-b"]
            with pytest.raises(Refusal, match="removed from this federation"):
                await evicted.federation.greet(evicted.federation.peers()[0])
            evicted.federation._own = evicted.federation._say("member")  # news, as after a restart
            await evicted.federation.greet(evicted.federation.peers()[1])
            await nodes["node-b"].federation.greet(nodes["node-b"].federation.peers()[0])
            assert members(first) == ["node-b"]
            assert members(nodes["node-b"]) == ["node-a", "node-c"]
            assert (await asked(first, "POST", "/federation/peers", {"peer": evicted.url}))[0] == 200
            assert members(first) == ["node-b", "node-c"]

    asyncio.run(scenario())


def test_another_key_under_a_known_name_is_refused_and_seen(tmp_path: Path) -> None:
    """The DID is pinned at first contact: another one at the same address is no peer, and status and metrics say so."""

    async def scenario() -> None:
        first, second = listening(), listening()
        places = urls({"node-a": first, "node-b": second})
        node = SmallNode(tmp_path / "a", "node-a", 1, first, {"node-b": places["node-b"]})
        async with node.running():
            honest = SmallNode(tmp_path / "b", "node-b", 2, second, {"node-a": places["node-a"]})
            async with honest.running():
                await until(lambda: len(node.federation.alive()) == 1)
            impostor = SmallNode(tmp_path / "c", "node-b", 3, second_again(places["node-b"]), {"node-a": places["node-a"]})
            async with impostor.running():
                node.federation.spread()
                await until(lambda: "node-b" in node.federation.refused)
                assert impostor.identity.did in node.federation.refused["node-b"]
                assert not node.federation.known(impostor.identity.did)
                assert node.federation.dids()["node-b"] == honest.identity.did
                status = (await asked(node, "GET", "/federation/status"))[1]
                assert impostor.identity.did in status["refused"]["node-b"]
                labels = {"peer": "node-b", "outcome": "refused"}
                await until(lambda: (node.registry.get_sample_value("icn_peer_handshakes_total", labels) or 0) > 0)

    asyncio.run(scenario())


def test_a_stranger_with_the_founders_names_is_met_at_the_configured_address_only(tmp_path: Path) -> None:
    """It says hello as node-b before node-b is there: answered, since node-b might be behind a proxy, and not believed."""

    async def scenario() -> None:
        listener, absent = listening(), listening()
        places = urls({"node-a": listener, "node-b": absent})
        absent.close()
        async with SmallNode(tmp_path / "a", "node-a", 1, listener, {"node-b": places["node-b"]}).running() as node:
            stranger = SmallNode(tmp_path / "s", "node-b", 50, listening(), {"node-a": places["node-a"]})
            async with stranger.running():
                await until(lambda: len(stranger.federation.alive()) == 1)
                assert not node.federation.known(stranger.identity.did)
                assert "node-b" not in node.federation.dids()

    asyncio.run(scenario())


def second_again(url: str) -> socket.socket:
    """A socket that listens where a node has just ended."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    listener.listen()
    return listener


def test_a_stranger_can_take_no_founding_name_and_no_known_one(tmp_path: Path) -> None:
    """A founding member is met at its configured address only, also while it has not come up yet."""

    async def scenario() -> None:
        listener, absent = listening(), listening()
        places = urls({"node-a": listener, "node-b": absent})
        absent.close()
        async with SmallNode(tmp_path / "a", "node-a", 1, listener, {"node-b": places["node-b"]}).running() as node:
            for name in ("node-b", "node-a"):
                async with alone(tmp_path / name, name, 50).running() as stranger:
                    with pytest.raises(Refusal) as caught:
                        await stranger.federation.join(node.url)
                    assert caught.value.code in (409, 422)
                    assert not node.federation.known(stranger.identity.did)

    asyncio.run(scenario())


def test_a_closed_federation_takes_no_strangers(tmp_path: Path) -> None:
    """Neither from themselves, nor from what others pass on."""

    async def scenario() -> None:
        node = SmallNode(tmp_path / "a", "node-a", 1, listening(), {}, closed=True)
        async with node.running(), alone(tmp_path).running() as stranger:
            with pytest.raises(Refusal, match="takes no new members"):
                await stranger.federation.join(node.url)
            assert members(node) == []
            assert (members(stranger), stranger.federation.founding) == ([], ("node-x",))

    asyncio.run(scenario())


NO_ADDRESSES: tuple[Any, ...] = (
    "ftp://127.0.0.1:80", "https://127.0.0.1:80", "http://user:pw@127.0.0.1:80", "http://127.0.0.1:80/admin",
    "http://127.0.0.1:80?x=1", "http://127.0.0.1:80#x", "http://127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:99999",
    "file:///etc/passwd", "//127.0.0.1:80", "127.0.0.1:80", "http://", "http://[::1", "x", "", 7, None, ["http://a:1"],
)  # fmt: skip


def test_what_is_no_address_of_a_node_is_refused(tmp_path: Path) -> None:
    """422 before anything is connected to."""

    async def scenario() -> None:
        async with alone(tmp_path).running() as node:
            for path, peer in itertools.product(("/federation/join", "/federation/peers"), NO_ADDRESSES):
                status, answer = await asked(node, "POST", path, {"peer": peer})
                assert (status, peer) == (422, peer)
                assert "peer" in answer["error"]

    asyncio.run(scenario())


def test_a_node_does_not_join_itself(tmp_path: Path) -> None:
    """Neither by its own address, nor by another name of it."""

    async def scenario() -> None:
        async with alone(tmp_path).running() as node:
            for url in (node.url, node.url.replace("127.0.0.1", "localhost"), node.url.replace("127.0.0.1", "127.0.0.2") + "/"):
                status, answer = await asked(node, "POST", "/federation/join", {"peer": url})
                assert (status, "itself" in answer["error"]) in [(422, True), (503, False)]
            assert (await asked(node, "POST", "/federation/join", {"peer": node.url}))[0] == 422

    asyncio.run(scenario())


def test_nobody_there_is_503_and_only_the_operator_may_ask(tmp_path: Path) -> None:
    """A closed port: try again later. Another principal: 403. No key: 401."""

    async def scenario() -> None:
        node = alone(tmp_path)
        other = Identity.from_seed(b"o" * 32).did
        node.gatekeeper._keys[b"another-key"] = Principal(other, "key")
        absent = listening()
        closed = urls({"x": absent})["x"]
        absent.close()
        async with node.running():
            assert (await asked(node, "POST", "/federation/join", {"peer": closed}))[0] == 503
            assert (await asked(node, "POST", "/federation/join", {"peer": closed}, key="another-key"))[0] == 403
            assert (await asked(node, "POST", "/federation/join", {"peer": closed}, key="wrong-key"))[0] == 401
            assert (await asked(node, "POST", "/federation/leave", {"peer": "node-q"}))[0] == 404
            assert (await asked(node, "POST", "/network/connect", {"peer": "ftp://x:1"}))[0] == 422
            assert (await asked(node, "GET", "/network/local-peer-id"))[1] == {"peer_id": node.identity.did}

    asyncio.run(scenario())


def test_members_of_two_federations_do_not_mix(tmp_path: Path) -> None:
    """A node with founders of its own neither joins another federation nor is added to one."""

    async def scenario() -> None:
        async with (
            federation(tmp_path / "1", ("node-a", "node-b")) as one,
            federation(tmp_path / "2", ("node-c", "node-d")) as two,
        ):
            for path in ("/federation/join", "/federation/peers"):
                status, answer = await asked(one["node-a"], "POST", path, {"peer": two["node-c"].url})
                assert status == 409
                assert "founded by" in answer["error"] or "another federation" in answer["error"]
            assert members(two["node-c"]) == ["node-d"]
            assert members(one["node-a"]) == ["node-b"]

    asyncio.run(scenario())


def test_who_stops_answering_is_suspected_and_heard_again(tmp_path: Path) -> None:
    """A closed port is noticed at the next look; the peer counts again once it is back."""

    async def scenario() -> None:
        first, second = listening(), listening()
        places = urls({"node-a": first, "node-b": second})
        async with SmallNode(tmp_path / "a", "node-a", 1, first, {"node-b": places["node-b"]}).running() as node:
            async with SmallNode(tmp_path / "b", "node-b", 2, second, {"node-a": places["node-a"]}).running():
                await until(lambda: len(node.federation.alive()) == 1)
                assert await asked(node, "POST", "/network/connect", {"peer": "node-b"}) == (200, {"connected": True})
                assert (await asked(node, "GET", "/network/peers"))[1] == (await asked(node, "GET", "/federation/peers"))[1]
            await until(lambda: node.federation.peers()[0].state is State.SUSPECT)
            assert (await asked(node, "GET", "/network/peers"))[1] == []
            assert (await asked(node, "POST", "/network/connect", {"peer": "node-b"}))[1]["connected"] is False
            listener = second_again(places["node-b"])
            async with SmallNode(tmp_path / "b", "node-b", 2, listener, {"node-a": places["node-a"]}).running():
                await until(lambda: len(node.federation.alive()) == 1)

    asyncio.run(scenario())


def test_a_node_whose_clock_went_back_is_still_believed(tmp_path: Path) -> None:
    """It hears its own later record from the others, and says what it has to say with a later one."""

    async def scenario() -> None:
        async with federation(tmp_path, ("node-a", "node-b")) as nodes:
            first, second = nodes["node-a"].federation, nodes["node-b"].federation
            await until(lambda: second._watched["node-a"].record is not None)
            said = second._watched["node-a"].record
            assert said is not None
            first._now = lambda: said.at - 3_600_000
            first._own = make(first.identity, first.name, first.url, "member", said.at - 3_600_000)
            await first.greet(first.peers()[0])
            assert first._own.at == said.at + 1
            await first.leave()
            await until(lambda: second.peers() == [])

    asyncio.run(scenario())


def test_every_figure_moves(tmp_path: Path) -> None:
    """No family of this part stays at nothing while nodes work and clients ask."""

    async def scenario() -> None:
        async with federation(tmp_path, ("node-a", "node-b")) as nodes:
            first = nodes["node-a"]
            assert await first.client.call("node-b", "GET", "/federation/peers") == [first.identity.did]
            with pytest.raises(Refusal, match="only this node's own key"):
                await first.client.call("node-b", "POST", "/network/connect", {"peer": "node-a"})
            first.gatekeeper._clients = Clients(0.001, 1)
            assert [(await asked(first, "GET", "/federation/status"))[0] for _ in range(2)] == [200, 429]
            for family in first.registry.collect():
                values = [sample.value for sample in family.samples if not sample.name.endswith("_created")]
                assert any(values) or family.name in {"icn_peer_calls_in_flight"}, family.name

    asyncio.run(scenario())


def test_a_greeting_must_be_signed_by_the_member_that_it_is_from(tmp_path: Path) -> None:
    """An operator's key, somebody else's record or a forged one: refused, and nobody is known by it."""

    async def scenario() -> None:
        async with alone(tmp_path).running() as node:
            alice, bob = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
            record = make(bob, "node-q", "http://127.0.0.1:9", "member", 1)
            forged = {**record.document, "url": "http://127.0.0.1:10"}
            for body in (_greeting(record.document), _greeting(forged), b"\xff", encode([1]), encode({"nonce": "x" * 16})):
                assert await _said(node, alice, body) in (400, 422)
            assert await _said(node, bob, _greeting(forged)) == 422
            assert (await asked(node, "POST", "/peer/hello", {}))[0] == 401
            assert members(node) == []
            assert await _said(node, bob, _greeting(record.document)) == 200
            assert members(node) == ["node-q"]

    asyncio.run(scenario())


def _greeting(document: Mapping[str, Any]) -> bytes:
    return encode({"founding": ["node-q"], "records": [dict(document)], "nonce": "n" * 16})


async def _said(node: SmallNode, who: Identity, body: bytes) -> int:
    message = Message("POST", "/peer/hello", "", {}, body)
    headers = sign(who, message, now=node.federation._now(), nonce=f"nonce-{hash((who.did, body))}")
    async with aiohttp.ClientSession() as session, session.post(f"{node.url}/peer/hello", data=body, headers=headers) as answer:
        return answer.status


def test_a_record_counts_only_as_its_member_signed_it() -> None:
    """A changed field, a missing or a further one, a name or DID of another form, and a time that is none."""
    alice = Identity.from_seed(b"a" * 32)
    good = make(alice, "node-q", "http://127.0.0.1:9", "left", 5)
    assert parse(dict(good.document)) == replace(good, document=dict(good.document))
    changes: list[dict[str, Any]] = [
        {"name": "node-r"}, {"name": "Node"}, {"name": 7}, {"did": Identity.from_seed(b"b" * 32).did}, {"did": "did:web:x"},
        {"url": "http://127.0.0.1:10"}, {"url": "ftp://x:1"}, {"state": "member"}, {"state": "evicted"}, {"at": 6}, {"at": -1},
        {"at": True}, {"signature": bytes(64)}, {"signature": "x"}, {"more": 1},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(Refusal) as caught:
            parse({**good.document, **change})
        assert caught.value.code == 422
    with pytest.raises(Refusal, match="exactly the fields"):
        parse([])


def test_a_home_moves_only_to_a_new_founder() -> None:
    """Rendezvous hashing: with one founder more, an account stays where it was or goes to the new one."""
    users = [Identity.from_seed(number.to_bytes(32)).did for number in range(300)]
    three, four = ("a", "b", "c"), ("a", "b", "c", "d")
    moved = [home_of(user, four) for user in users if home_of(user, four) != home_of(user, three)]
    assert set(moved) == {"d"}
    assert 40 < len(moved) < 110
    assert all(60 < sum(home_of(user, three) == name for user in users) < 140 for name in three)


def test_an_address_has_one_form() -> None:
    """Without the slash at its end."""
    assert checked_url("http://127.0.0.1:80/") == "http://127.0.0.1:80"
