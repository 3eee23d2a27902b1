"""The proxy against an oracle: what clients get, what it says that it did, and what was asked for agree."""

from __future__ import annotations

import http.client
import io
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError
from small_server import serving

from gates.model import TargetPlan
from gates.target import running
from gates.target.presets import CommandPreset
from gates.target.proxy.injection import Injection
from gates.target.proxy.message import Cutter, UncutError
from gates.target.proxy.settings import ProxySettings

PLAN = TargetPlan("command", {"run": serving()}, ("main",), ("kill", "start"))


def plugins(group: str) -> dict[str, Any]:
    """The preset that is needed."""
    return {"command": CommandPreset()}


def injection(**settings: Any) -> dict[str, Any]:
    """Settings as a person writes them, as the proxy gets them."""
    return ProxySettings.model_validate(settings).injection()


def ask(url: str, body: bytes | None = None) -> tuple[int, bytes, float]:
    """Status, body and seconds of one request."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as response:
            return response.status, response.read(), time.monotonic() - began
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), time.monotonic() - began


def lines(log: Path) -> list[dict[str, Any]]:
    """What the proxy wrote down."""
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.end_to_end
def test_clients_get_what_was_asked_for_and_the_log_agrees(tmp_path: Path) -> None:
    """10 % errors, 20 % wrong bodies and 10 % delays of 100 requests are exactly that, for the client and in the log."""
    asked = injection(
        errors={"share": "10 %", "status": 502},
        wrong_body={"share": "20 %", "body": [1]},
        delay={"share": "10 %", "by": "50 ms"},
    )
    with running(PLAN, folder=tmp_path, plugins=plugins, proxies={"*": asked}, seed=3) as target:
        seen = [ask(target.endpoints["main"] + "/x") for _ in range(100)]
        log = target.proxy_logs["main"]
        noted = [line["kind"] for line in lines(log)]
    assert sum(status == 502 for status, _, _ in seen) == noted.count("error") == 10
    assert sum((status, body) == (200, b"[1]") for status, body, _ in seen) == noted.count("wrong_body") == 20
    assert sum(seconds >= 0.05 for _, _, seconds in seen) >= noted.count("delay") == 10
    assert sum(body == b'{"ok": true}' for _, body, _ in seen) == 70
    now = pytest.approx(time.time(), abs=60)
    assert lines(log)[-1] == {
        "time": now, "kind": "total", "forwarded": 100, "first": now, "last": now,
        "done": {"error": 10, "wrong_body": 20, "delay": 10},
    }  # fmt: skip


@pytest.mark.end_to_end
def test_only_matching_requests_are_touched(tmp_path: Path) -> None:
    """A method and the beginning of a path narrow it."""
    asked = injection(errors={"share": "100 %"}, method="POST", path="/submit")
    with running(PLAN, folder=tmp_path, plugins=plugins, proxies={"main": asked}) as target:
        url = target.endpoints["main"]
        assert ask(url + "/submit")[0] == 200
        assert ask(url + "/other", b"{}")[0] == 201
        assert ask(url + "/submit", b"{}")[:2] == (503, b'{"error": "seeded by a drill"}')


@pytest.mark.end_to_end
def test_a_truncated_answer_ends_in_its_middle(tmp_path: Path) -> None:
    """The length that was announced never comes, and the next connection is served as ever."""
    asked = injection(truncated={"share": "50 %"})
    with running(PLAN, folder=tmp_path, plugins=plugins, proxies={"*": asked}) as target:
        ends = [how_it_ended(target.endpoints["main"] + "/x", b"0123456789") for _ in range(10)]
        log = target.proxy_logs["main"]
    assert ends.count(b"01234") == lines(log)[-1]["done"]["truncated"] == 5
    assert ends.count(b"0123456789") == 5


def how_it_ended(url: str, body: bytes) -> bytes:
    """What came of the body of one answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as response:
            return response.read()
    except http.client.IncompleteRead as error:
        return error.partial


@pytest.mark.end_to_end
def test_a_stale_answer_is_the_one_before_and_counts_only_where_it_differs(tmp_path: Path) -> None:
    """Of echoed bodies every second is the earlier one; an answer that is the same again is not counted as stale."""
    asked = injection(stale={"share": "50 %"})
    with running(PLAN, folder=tmp_path, plugins=plugins, proxies={"*": asked}) as target:
        url = target.endpoints["main"]
        echoed = [ask(url + "/x", b"%d" % number)[1] for number in range(20)]
        same = [ask(url + "/same")[1] for _ in range(20)]
        log = target.proxy_logs["main"]
    late = [number for number, body in enumerate(echoed) if number and body == b"%d" % (number - 1)]
    assert lines(log)[-1]["done"] == {"stale": len(late)}
    assert 9 <= len(late) <= 10
    assert set(same) == {b'{"ok": true}'}


def test_a_stall_holds_everything_until_its_end_and_nothing_else() -> None:
    """1 s in 20 s from the first request on: the last second of each period, for what has no other defect."""
    now = [100.0]
    asked = injection(stall={"every": "20 s", "for": "1 s"}, delay={"share": "0 %", "by": "3 s"})
    stalled = Injection(asked, Random(1), io.StringIO(), now=lambda: now[0])
    assert stalled.hold("") == ("", 0.0)  # nobody has come yet
    stalled.draw("GET", "/")
    held = {}
    for at in (0.0, 18.9, 19.25, 19.75, 20.1, 39.5):
        now[0] = 100.0 + at
        held[at] = stalled.hold("")
    assert held == {
        0.0: ("", 0.0), 18.9: ("", 0.0), 19.25: ("stall", 0.75), 19.75: ("stall", 0.25), 20.1: ("", 0.0), 39.5: ("stall", 0.5)
    }  # fmt: skip
    assert stalled.hold("error") == ("error", 0.0)
    assert stalled.hold("delay") == ("delay", 3.0)
    with pytest.raises(ValidationError, match="a stall that never ends"):
        injection(stall={"every": "1 s", "for": "1 s"})


@pytest.mark.end_to_end
def test_without_defects_bytes_pass_unchanged_and_a_dead_endpoint_stays_dead(tmp_path: Path) -> None:
    """Large bodies both ways; when the endpoint is killed, connections end instead of hanging; when it is back, they work."""
    with running(PLAN, folder=tmp_path, plugins=plugins, proxies={"*": injection()}) as target:
        url, large = target.endpoints["main"], Random(1).randbytes(500_000)
        assert ask(url + "/x", large)[1] == large
        target.kill("main")
        with pytest.raises(OSError, match=r"reset|closed|refused"):
            ask(url)
        target.start("main")
        assert ask(url)[0] == 200


def test_a_share_is_kept_exactly_and_starts_at_a_seeded_place() -> None:
    """Of any 20 requests in a row one gets a defect of 5 %; which one depends on the seed."""
    places = set()
    for seed in range(10):
        seeded = Injection(injection(errors={"share": "5 %"}), Random(seed), io.StringIO())
        drawn = [bool(seeded.draw("GET", "/")) for _ in range(200)]
        assert all(sum(drawn[at : at + 20]) == 1 for at in range(180))
        places.add(drawn.index(True))
    assert len(places) > 3


def test_one_response_gets_at_most_one_defect() -> None:
    """Shares that add up to more than everything are refused; 100 % in two halves touches every response once."""
    with pytest.raises(ValidationError, match="add up to 110%"):
        ProxySettings.model_validate({"errors": {"share": "60 %"}, "delay": {"share": "50 %", "by": "1 s"}})
    half = Injection(injection(errors={"share": "50 %"}, wrong_body={"share": "50 %"}), Random(1), io.StringIO())
    drawn = [half.draw("GET", "/") for _ in range(100)]
    assert 49 <= drawn.count("error") <= 51
    assert 49 <= drawn.count("wrong_body") <= 51


MESSAGES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_are_cut_the_same_however_they_arrive(size: int) -> None:
    """Byte by byte or all at once, each message comes out whole and in order."""
    stream, cutter, found = b"".join(MESSAGES), Cutter(responses=True), []
    for at in range(0, len(stream), size):
        cutter.feed(stream[at : at + size])
        while (message := cutter.next()) is not None:
            found.append(message.raw)
    assert found == MESSAGES


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    """Until then it is not whole."""
    cutter = Cutter(responses=True)
    cutter.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert cutter.next() is None
    message = cutter.next(ended=True)
    assert message is not None
    assert message.raw.endswith(b"abc")


@pytest.mark.parametrize("junk", [b"\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 70_000])
def test_what_can_not_be_cut_is_refused(junk: bytes) -> None:
    """Garbage, a length that is none, and endless headers end the connection instead of filling memory."""
    cutter = Cutter(responses=False)
    cutter.feed(junk)
    with pytest.raises(UncutError):
        cutter.next()
