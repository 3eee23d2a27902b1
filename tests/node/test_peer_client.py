"""Calls to peers that answer, refuse, hang, reset and are not there."""

from __future__ import annotations

import asyncio
import gc
import struct
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Any

import pytest
from leaping import LeapingLoop
from prometheus_client import CollectorRegistry
from small_node import listening, serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from waiting import soon

from gates.node.cid import decode, encode
from gates.node.detector import State
from gates.node.directory import Peer
from gates.node.errors import PeerUnavailable, Refusal
from gates.node.http import json_answer
from gates.node.identity import Identity, signed
from gates.node.metrics_federation import FederationMetrics
from gates.node.peer_client import ATTEMPTS, CBOR, PeerClient, PeerFailed
from gates.node.signatures import Message, check, claim
from gates.recovery import CircuitState, Deadline, DeadlineExceeded
from gates.recovery.testing import VirtualClock

pytestmark = pytest.mark.end_to_end

OWN, OTHER = Identity.from_seed(bytes(32)), Identity.from_seed(b"\1" * 32)
Handler = Callable[[Request], Awaitable[Response]]


class Members:
    """One peer, and what was told of it."""

    def __init__(self, url: str) -> None:
        self.only = Peer("node-b", OTHER.did, url, State.ALIVE, True)
        self.told: list[str] = []

    def peer(self, name_or_did: str) -> Peer | None:
        return self.only if name_or_did in (self.only.name, self.only.did) else None

    def heard(self, name: str) -> None:
        self.told.append("heard")

    def missed(self, name: str, *, refused: bool = False) -> None:
        self.told.append("refused" if refused else "missed")


class Peerage:
    """A client, its one peer and its figures."""

    def __init__(self, url: str, preset: str = "testing") -> None:
        self.members, self.registry = Members(url), CollectorRegistry()
        self.clock = VirtualClock(0.0)  # of the breakers; everything else takes real time
        metrics = FederationMetrics(self.registry)
        self.client = PeerClient(OWN, self.members, metrics=metrics, preset=preset, clock=self.clock)

    async def __aenter__(self) -> Peerage:
        self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    def figure(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"peer": "node-b", **labels}) or 0.0

    @property
    def attempts(self) -> float:
        return self.figure("icn_peer_attempts_total")


@asynccontextmanager
async def answering(handler: Handler, preset: str = "testing") -> AsyncIterator[Peerage]:
    """A client whose peer answers with *handler*."""
    listener = listening()
    app = Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST"])])
    async with serving(app, listener), Peerage(f"http://127.0.0.1:{listener.getsockname()[1]}", preset) as peerage:
        yield peerage


@asynccontextmanager
async def faulty(accepted: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Peerage]:
    """A client whose peer's port does *accepted* with every connection."""
    listener, tasks = listening(), set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await accepted(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(accept, sock=listener)
    try:
        async with Peerage(f"http://127.0.0.1:{listener.getsockname()[1]}") as peerage:
            yield peerage
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept and never answer."""
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request, then reset the connection."""
    await reader.read(65536)
    connection: socket = writer.get_extra_info("socket")
    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer half of what was promised."""
    await reader.read(65536)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()


def run(scenario: Callable[[], Awaitable[None]], loop: type[asyncio.AbstractEventLoop] | None = None) -> None:
    """Run *scenario*, on a *loop* of one's own; a socket or session that is left open is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(scenario())  # type: ignore[arg-type]
        gc.collect()


def test_a_call_is_signed_for_its_peer_and_carries_what_is_left_of_the_deadline() -> None:
    """The peer can check who asks, that it is meant, and how long the answer is worth anything."""
    seen: list[tuple[str, str, int]] = []

    async def handler(request: Request) -> Response:
        body = await request.body()
        message = Message(request.method, request.url.path, request.url.query, request.headers, body)
        claimed = claim(request.headers)
        assert claimed is not None
        proof = check(claimed, message, now=claimed.proof.created * 1000)
        seen.append((proof.did, request.headers["icn-recipient"], int(request.headers["x-request-deadline-ms"])))
        return json_answer({"got": body.decode(), "query": request.url.query})

    async def scenario() -> None:
        async with answering(handler) as peerage:
            answer = await peerage.client.call("node-b", "POST", "/peer/x?a=1%2C2", {"b": 2}, timeout=1.0)
            assert answer == {"got": '{"b":2}', "query": "a=1%2C2"}
            assert await Deadline(0.5)(peerage.client.call)(OTHER.did, "GET", "/peer/y") == {"got": "", "query": ""}
            assert peerage.members.told == ["heard", "heard"]
            assert peerage.figure("icn_peer_calls_total", outcome="done") == 2

    run(scenario)
    (first, for_whom, left), (_, _, less) = seen
    assert (first, for_whom) == (OWN.did, OTHER.did)
    assert 500 < left <= 1000
    assert 1 <= less <= 500


def test_bytes_go_and_come_as_they_are() -> None:
    """DAG-CBOR is neither parsed nor changed on the way."""

    async def handler(request: Request) -> Response:
        return Response(await request.body(), media_type=request.headers["content-type"])

    async def scenario() -> None:
        async with answering(handler) as peerage:
            assert await peerage.client.call("node-b", "POST", "/peer/x", b"\xa0\xff") == b"\xa0\xff"
            assert peerage.figure("icn_peer_sent_bytes_total") == peerage.figure("icn_peer_received_bytes_total") == 2

    run(scenario)


def test_connections_are_kept_and_bounded() -> None:
    """A hundred calls at once share sixteen connections, and the next hundred use the same ones."""
    ports: set[int] = set()

    async def handler(request: Request) -> Response:
        assert request.client is not None
        ports.add(request.client.port)
        return json_answer(1)

    async def scenario() -> None:
        async with answering(handler) as peerage:
            for _ in range(2):
                await asyncio.gather(*(peerage.client.call("node-b", "GET", "/peer/x") for _ in range(100)))

    run(scenario)
    assert len(ports) <= 16


def test_a_refusal_is_an_answer() -> None:
    """It comes out as it is, is not retried, and says nothing against the peer."""

    async def handler(_request: Request) -> Response:
        return json_answer({"error": "no such thing", "home": "node-c"}, 421)

    async def scenario() -> None:
        async with answering(handler) as peerage:
            for _ in range(5):
                with pytest.raises(Refusal, match="no such thing") as caught:
                    await peerage.client.call("node-b", "GET", "/peer/x")
                assert (caught.value.code, caught.value.details) == (421, {"home": "node-c"})
            assert peerage.attempts == 5
            assert peerage.client.breakers["node-b"].state is CircuitState.CLOSED

    run(scenario)


def test_what_is_idempotent_is_tried_again_and_the_rest_is_not() -> None:
    """One 503 is got over; under idempotent=False it comes out, as something that was not done."""
    answers = iter([503, 200, 503, 500])

    async def handler(_request: Request) -> Response:
        code = next(answers)
        return json_answer({"error": "busy"} if code != 200 else {"done": True}, code, {"Retry-After": "0"})

    async def scenario() -> None:
        async with answering(handler) as peerage:
            assert await peerage.client.call("node-b", "POST", "/peer/x", {}) == {"done": True}
            assert peerage.attempts == 2
            for sent in (False, True):
                with pytest.raises(PeerFailed) as caught:
                    await peerage.client.call("node-b", "POST", "/peer/x", {}, idempotent=False)
                assert caught.value.sent is sent
            assert peerage.attempts == 4

    run(scenario)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":' * 2000, b"\xff"])
def test_an_answer_that_is_no_json_is_a_failure_of_the_peer(body: bytes) -> None:
    """Cut off, nested without end or not even text: PeerFailed, after retries."""

    async def handler(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    async def scenario() -> None:
        async with answering(handler) as peerage:
            with pytest.raises(PeerFailed, match="no JSON"):
                await peerage.client.call("node-b", "GET", "/peer/x")
            assert peerage.attempts == ATTEMPTS

    run(scenario)


def test_an_answer_without_end_is_cut_and_a_redirect_is_not_followed() -> None:
    """Neither fills the memory nor sends a signed request to somebody else."""

    async def handler(request: Request) -> Response:
        if request.url.path == "/peer/big":
            return PlainTextResponse("x" * (5 * 1024 * 1024))
        return Response(status_code=307, headers={"Location": "http://127.0.0.1:9/"})

    async def scenario() -> None:
        async with answering(handler) as peerage:
            with pytest.raises(PeerFailed, match="larger than"):
                await peerage.client.call("node-b", "GET", "/peer/big", idempotent=False)
            with pytest.raises(PeerFailed, match="307"):
                await peerage.client.call("node-b", "GET", "/peer/x", idempotent=False)

    run(scenario)


def test_a_peer_that_never_answers_costs_no_more_than_the_timeout_and_opens_its_breaker() -> None:
    """Calls end in time; after three the breaker refuses at once; the failure says that it may have been done."""

    async def scenario() -> None:
        async with faulty(hang) as peerage:
            loop = asyncio.get_running_loop()
            for _ in range(3):
                began = loop.time()
                with pytest.raises(PeerFailed, match="no answer in") as caught:
                    await peerage.client.call("node-b", "POST", "/peer/x", {}, timeout=60.0)
                assert caught.value.sent
                assert 0.0 < loop.time() - began < 60.0
            with pytest.raises(PeerUnavailable, match="breaker is open"):
                await peerage.client.call("node-b", "POST", "/peer/x", {}, timeout=60.0)
            assert peerage.attempts == 3
            assert peerage.figure("icn_peer_calls_total", outcome="open") == 1

    run(scenario, LeapingLoop)


def test_a_caller_without_time_says_nothing_against_the_peer() -> None:
    """A deadline of 20 ms ends the call, and the breaker stays closed."""

    async def scenario() -> None:
        async with faulty(hang) as peerage:
            for _ in range(5):
                with pytest.raises((PeerUnavailable, DeadlineExceeded)):  # whichever of the two ends first
                    await Deadline(0.02)(peerage.client.call)("node-b", "GET", "/peer/x")
            assert peerage.client.breakers["node-b"].state is CircuitState.CLOSED
            assert "missed" not in peerage.members.told

    run(scenario)


@pytest.mark.parametrize("fault", [reset, cut])
def test_a_connection_that_breaks_is_tried_again_until_the_breaker_opens(
    fault: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """An idempotent call goes on until the breaker opens; any other is sent once, and may have been carried out."""

    async def scenario() -> None:
        async with faulty(fault) as peerage:
            with pytest.raises(PeerFailed) as caught:
                await peerage.client.call("node-b", "POST", "/peer/x", {}, idempotent=False)
            assert caught.value.sent
            assert peerage.attempts == 1
            with pytest.raises(PeerUnavailable):
                await peerage.client.call("node-b", "POST", "/peer/x", {})
            assert peerage.attempts == 3  # the third failure in a row has opened the breaker
            assert peerage.members.told == ["missed"] * 3

    run(scenario)


def test_retries_end_with_the_budget() -> None:
    """Many calls that fail together make as many attempts as there are calls, and ten more."""

    async def handler(_request: Request) -> Response:
        return json_answer({"error": "no"}, 500)

    async def scenario() -> None:
        async with answering(handler) as peerage:
            peerage.client.breakers["node-b"].disable()
            calls = (peerage.client.call("node-b", "GET", "/peer/x") for _ in range(40))
            assert all(isinstance(each, PeerFailed) for each in await asyncio.gather(*calls, return_exceptions=True))
            assert 50 <= peerage.attempts <= 52

    run(scenario)


def test_a_closed_port_is_told_as_refused_and_nothing_was_sent() -> None:
    """The failure detector learns it at once."""

    async def scenario() -> None:
        listener = listening()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.close()
        async with Peerage(url) as peerage:
            with pytest.raises(PeerFailed, match="can't be reached") as caught:
                await peerage.client.call("node-b", "GET", "/peer/x", idempotent=False)
            assert not caught.value.sent
            assert not await peerage.client.probe(peerage.members.only, 0.5)
            assert peerage.members.told == ["refused", "refused"]

    run(scenario)


def test_a_breaker_closes_once_the_peer_answers_again() -> None:
    """Open after three failures, and a good probe closes it."""
    healthy = False

    async def handler(_request: Request) -> Response:
        return json_answer({}, 200 if healthy else 500)

    async def scenario() -> None:
        nonlocal healthy
        async with answering(handler) as peerage:
            with pytest.raises(PeerFailed):
                await peerage.client.call("node-b", "GET", "/peer/x")
            assert peerage.client.breakers["node-b"].state is CircuitState.OPEN
            healthy = True
            with pytest.raises(PeerUnavailable, match="breaker is open"):
                await peerage.client.call("node-b", "GET", "/peer/x")
            peerage.clock.advance(0.1)
            assert await peerage.client.call("node-b", "GET", "/peer/x") == {}
            assert peerage.client.breakers["node-b"].state is CircuitState.CLOSED

    run(scenario)


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    """Neither a connection, nor a count of calls under way, nor a mark against the peer."""

    async def scenario() -> None:
        async with faulty(hang) as peerage:
            task = asyncio.create_task(peerage.client.call("node-b", "GET", "/peer/x", timeout=30))
            await soon(lambda: bool(peerage.attempts), "the call is on the wire")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert peerage.registry.get_sample_value("icn_peer_calls_in_flight") == 0
            assert peerage.client.breakers["node-b"].snapshot().failures == 0

    run(scenario)


def test_who_is_no_member_and_a_closed_client_are_unavailable() -> None:
    """Both are PeerUnavailable, and nothing hangs."""

    async def handler(_request: Request) -> Response:
        return json_answer(1)

    async def scenario() -> None:
        async with answering(handler) as peerage:
            with pytest.raises(PeerUnavailable, match="no member"):
                await peerage.client.call("node-z", "GET", "/peer/x")
            await peerage.client.close()
            with pytest.raises(PeerUnavailable, match="closing"):
                await peerage.client.call("node-b", "GET", "/peer/x")
            assert not await peerage.client.probe(peerage.members.only, 0.1)

    run(scenario)


def test_a_probe_takes_only_200_for_an_answer() -> None:
    """503 of an unhealthy peer and a peer that hangs are misses."""
    codes: list[int] = [200, 503]

    async def handler(_request: Request) -> Response:
        return json_answer({}, codes.pop(0))

    async def scenario() -> None:
        async with answering(handler) as peerage:
            only: Any = peerage.members.only
            assert [await peerage.client.probe(only, 1), await peerage.client.probe(only, 1)] == [True, False]
        async with faulty(hang) as peerage:
            assert not await peerage.client.probe(peerage.members.only, 0.05)
            assert peerage.members.told == ["missed"]

    run(scenario)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nonce": "another"}, "answer to a greeting"),
        ({"to": OTHER.did}, "answer to a greeting"),
        ({"did": OWN.did}, "not signed by"),
        ({"founding": ["node-z"]}, "not signed by"),
        ({"signature": bytes(64)}, "not signed by"),
    ],
)
def test_an_answer_to_a_greeting_must_be_signed_for_this_very_greeting(change: dict[str, Any], words: str) -> None:
    """One for another nonce or another node was recorded somewhere; one that was changed is nobody's."""

    async def handler(request: Request) -> Response:
        nonce = decode(await request.body())["nonce"]
        answer = {"founding": ["node-b"], "records": [], "nonce": nonce, "to": OWN.did, "did": OTHER.did}
        late = {} if words == "not signed by" else change
        return Response(encode({**signed("icn/hello", {**answer, **late}, OTHER), **change}), media_type=CBOR)

    async def scenario() -> None:
        async with answering(handler) as peerage:
            with pytest.raises((Refusal, PeerUnavailable), match=words):
                await peerage.client.greet(peerage.members.only.url, {"founding": [], "records": []}, "n" * 16, 1.0)

    run(scenario)
