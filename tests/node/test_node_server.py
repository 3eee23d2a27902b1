"""What every request goes through, with handlers of our own and no network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from waiting import soon

from gates.node.auth import Principal
from gates.node.errors import PeerUnavailable, Refusal, StoreUnavailable, Undecided
from gates.node.http import LARGEST_BODY, Call, QuickRequest, Route, json_answer
from gates.node.intake import Admission, Bodies
from gates.node.metrics_runtime import RuntimeMetrics
from gates.node.server import Server, Table
from gates.node.traffic import Traffic
from gates.recovery import remaining

ME, OTHER = "did:key:me", "did:key:other"
Headers = Mapping[str, str]


def scope(method: str, path: str, headers: Headers) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "client": ("c", 1)}


class Gatekeeper:
    """Lets everybody in, as whom the header says."""

    def pace(self, request: QuickRequest) -> None:
        if request.header(b"x-too-often"):
            raise Refusal(429, "too many requests", retry_after=2.4)

    def prove(self, request: QuickRequest, body: bytes, *, peer: bool = False) -> Principal:
        return Principal(request.header(b"x-did") or OTHER, "key", peer=b"x-peer" in request.raw)


class Small:
    """As much of a node as the server asks for."""

    def __init__(self, *routes: Route, most: int = 8) -> None:
        self.registry = CollectorRegistry()
        self.metrics = SimpleNamespace(runtime=RuntimeMetrics(self.registry), registry=self.registry)
        self.settings = SimpleNamespace(max_in_flight=most)
        self.shed: list[str] = []
        self.degradation = SimpleNamespace(read_only=False, shed=self.shed.append)
        self.gatekeeper, self.identity = Gatekeeper(), SimpleNamespace(did=ME)
        self.started, self.draining = True, False
        self.server = Server(self, routes)

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body and headers."""
        sent: list[Any] = []
        given = dict(headers or {}) | ({} if body is None else {"Content-Length": str(len(body))})

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.server(scope(method, path, given), receive, send)
        start, rest = sent
        return start["status"], json.loads(rest["body"]), {name.decode(): value.decode() for name, value in start["headers"]}


def serving(handler: Callable[[Call], Awaitable[Response]], method: str = "GET", **more: Any) -> Route:
    return Route(method, "/here", handler, **more)


async def echo(call: Call) -> Response:
    return json_answer({"body": call.body.decode(), "did": call.principal.did})


def asked(node: Small, *arguments: Any) -> tuple[int, Any, dict[str, str]]:
    return asyncio.run(node.ask(*arguments))


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_path_leads_to_its_handler_with_its_named_parts() -> None:
    """Plain and named paths, decoded; a slash is never part of a name."""

    async def name(call: Call) -> Response:
        return json_answer([call.path("a"), call.path("b")])

    node = Small(Route("GET", "/x/{a}/y/{b}", name), serving(echo, "POST"))
    assert asked(node, "GET", "/x/1/y/ü:.")[1] == ["1", "ü:."]
    assert asked(node, "GET", "/x/1/2/y/3")[0] == 404
    assert asked(node, "GET", "/x//y/3")[0] == 404
    assert asked(node, "POST", "/here", b"text")[1]["body"] == "text"


def test_another_method_is_told_which_there_are() -> None:
    """405 with Allow."""
    node = Small(serving(echo, "POST"), serving(echo))
    code, answer, headers = asked(node, "DELETE", "/here")
    assert (code, list(answer), headers["allow"]) == (405, ["error"], "GET, POST")


def test_a_path_that_is_there_twice_is_a_mistake_of_ours() -> None:
    """It is found when the node is put together."""
    with pytest.raises(ValueError, match="twice"):
        Table([serving(echo), serving(echo)], Traffic())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (Refusal(402, "too little", balance=3), 402, None),
        (StoreUnavailable("locked"), 503, "1"),
        (Undecided("who knows"), 500, None),
        (PeerUnavailable("away"), 503, "1"),
        (KeyError("secret"), 500, None),
    ],
)
def test_every_failure_has_a_code_and_the_interfaces_shape(error: Exception, code: int, retry: str | None) -> None:
    """A mistake of ours says nothing of itself but the id under which the log says more."""

    async def fail(_call: Call) -> Response:
        raise error

    got, answer, headers = asked(Small(serving(fail)), "GET", "/here", None, {"X-Correlation-Id": "mine"})
    assert (got, headers.get("retry-after"), headers["x-correlation-id"]) == (code, retry, "mine")
    assert isinstance(answer["error"], str)
    assert "secret" not in answer["error"]
    assert answer.get("balance") == (3 if code == 402 else None)


def test_who_asks_too_often_is_refused_before_the_body_is_read() -> None:
    """429 with the seconds to wait."""
    code, _, headers = asked(Small(serving(echo)), "GET", "/here", None, {"X-Too-Often": "1"})
    assert (code, headers["retry-after"]) == (429, "2")


def test_read_only_refuses_what_changes_the_ledger_and_nothing_else() -> None:
    """Reads, blocks and other nodes go on."""
    node = Small(
        serving(echo),
        serving(echo, "POST"),
        Route("POST", "/block", echo, writes=False),
        Route("POST", "/peer", echo, peer=True),
    )
    node.degradation.read_only = True
    codes = [asked(node, method, path)[0] for method, path in (("GET", "/here"), ("POST", "/block"), ("POST", "/peer"))]
    assert codes == [200, 200, 200]
    code, answer, headers = asked(node, "POST", "/here")
    assert (code, answer["read_only"], headers["retry-after"]) == (503, True, "1")


def test_probes_are_answered_before_the_node_has_started_and_others_are_not() -> None:
    """`/live` is one of them."""
    node = Small(serving(echo), Route("GET", "/live", echo, public=True))
    node.started = False
    assert asked(node, "GET", "/here")[0] == 503
    assert asked(node, "GET", "/live")[0] == 200


def test_a_node_that_drains_asks_for_the_end_of_the_connection() -> None:
    """Every answer says close."""
    node = Small(serving(echo))
    assert "connection" not in asked(node, "GET", "/here")[2]
    node.draining = True
    assert asked(node, "GET", "/here")[2]["connection"] == "close"


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_the_clients_deadline_is_kept_and_handed_down() -> None:
    """Everything further in sees what is left; who is late is interrupted and told with 504."""
    seen: list[float | None] = []

    async def slow(_call: Call) -> Response:
        seen.append(remaining())
        await asyncio.sleep(60)
        raise AssertionError("it was to be interrupted")

    node = Small(serving(slow))
    code, answer, _ = asked(node, "GET", "/here", None, {"X-Request-Deadline-Ms": "20"})
    assert (code, list(answer)) == (504, ["error"])
    assert 0 < (seen[0] or 0) <= 0.02
    assert remaining() is None


@pytest.mark.parametrize(("text", "code"), [("0", 504), ("60000", 200), ("-1", 400), ("1.5", 400), ("1" * 12, 400), ("", 400)])
def test_a_deadline_is_a_number_of_milliseconds(text: str, code: int) -> None:
    """One that is over is 504 at once, and what is no number 400."""
    assert asked(Small(serving(echo)), "GET", "/here", None, {"X-Request-Deadline-Ms": text})[0] == code


# --- bodies -----------------------------------------------------------------------------------------------------------


def bodies(**more: Any) -> Bodies:
    return Bodies(RuntimeMetrics(CollectorRegistry()), **more)


def arriving(*chunks: bytes, end: str = "whole", declared: int | None = None) -> QuickRequest:
    """A request whose body comes in *chunks*, and then is whole, stalls or breaks off."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if end == "whole":
        messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        if end == "stalls":
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    headers = {"transfer-encoding": "chunked"} if declared is None else {"content-length": str(declared)}
    return QuickRequest(scope("POST", "/here", headers), receive)


def test_a_body_is_read_as_it_comes_and_its_room_given_back() -> None:
    """What is held is what was read, until it is done."""

    async def read() -> None:
        intake = bodies()
        assert await intake.read(arriving(b"one", b"two")) == b"onetwo"
        assert intake.held == 6
        intake.done(6)
        assert intake.held == 0
        assert await intake.read(QuickRequest(scope("GET", "/", {}), None)) == b""

    asyncio.run(read())


@pytest.mark.parametrize(
    ("request_", "error", "code"),
    [
        (lambda: arriving(b"x", declared=LARGEST_BODY + 1), Refusal, 413),
        (lambda: arriving(*[b"x" * 65536] * 17), Refusal, 413),
        (lambda: arriving(b"x" * 100, end="stalls"), Refusal, 408),
        (lambda: arriving(b"x" * 100, b"y", end="breaks off"), ClientDisconnect, 0),
    ],
    ids=["declared too long", "too long", "too slow", "broken off"],
)
def test_a_bad_body_is_refused_and_leaves_nothing(request_: Any, error: type[Exception], code: int) -> None:
    """The room that it had is free again."""

    async def read() -> None:
        intake = bodies(patience=0.01)
        with pytest.raises(error) as refused:
            await intake.read(request_())
        assert getattr(refused.value, "code", 0) == code
        assert intake.held == 0

    asyncio.run(read())


def test_the_sum_of_all_halves_is_bounded() -> None:
    """Two slow clients that fill the room make a third one 503, and room that is free again is used."""

    async def read() -> None:
        intake = bodies(most=1000, patience=5)
        slow = [asyncio.create_task(intake.read(arriving(b"x" * 500, end="stalls"))) for _ in range(2)]
        await soon(lambda: intake.held == 1000, "both halves are held")
        with pytest.raises(Refusal) as refused:
            await intake.read(arriving(b"y"))
        assert refused.value.code == 503
        slow[0].cancel()
        with suppress(asyncio.CancelledError):
            await slow[0]
        assert await intake.read(arriving(b"y")) == b"y"
        slow[1].cancel()

    asyncio.run(read())


# --- load -------------------------------------------------------------------------------------------------------------


def test_the_least_important_are_refused_first() -> None:
    """With twenty places: background may fill half, normal ones nine tenths, and what the operator calls critical all."""
    shed: list[str] = []
    metrics = RuntimeMetrics(CollectorRegistry())
    admission = Admission(20, metrics, shed.append)
    route = serving(echo)

    def enter(urgency: str, trusted: bool = False) -> Any:
        return admission.begin(route, QuickRequest(scope("GET", "/here", {"Priority": f"u={urgency}"}), None), trusted)

    def fill(urgency: str, trusted: bool = False) -> int:
        entered = 0
        try:
            while enter(urgency, trusted):
                entered += 1
        except Refusal as refused:
            assert (refused.code, refused.retry_after) == (503, 1)  # noqa: PT017 - it ends the loop
        return entered

    assert [fill("7"), fill("3"), fill("0"), fill("0", trusted=True)] == [10, 8, 0, 2]
    assert shed == ["background", "normal", "normal", "critical"]


def test_a_place_is_given_back_whatever_the_handler_does() -> None:
    """A node with one place answers one request after the other, and refuses a second one at the same time."""
    gate = asyncio.Event()

    async def wait(_call: Call) -> Response:
        await gate.wait()
        return json_answer({})

    async def fail(_call: Call) -> Response:
        raise KeyError("secret")

    async def run() -> None:
        node = Small(serving(wait), Route("GET", "/fails", fail), most=1)
        for _ in range(3):
            assert (await node.ask("GET", "/fails"))[0] == 500
        first = asyncio.create_task(node.ask("GET", "/here"))
        await asyncio.sleep(0)
        assert (await node.ask("GET", "/here"))[0] == 503
        assert (await node.ask("GET", "/here", None, {"X-Peer": "yes", "X-Request-Deadline-Ms": "1"}))[0] == 504
        assert node.server.in_flight == 1
        gate.set()
        assert (await first)[0] == 200
        assert node.server.in_flight == 0
        assert node.shed == ["normal"]

    asyncio.run(run())
