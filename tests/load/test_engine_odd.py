"""What a misbehaving target does to the generator: a counted class of error, no hang, and bounded memory."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from odd_server import connections_of, odd_server
from waiting import PATIENCE, given_time

from gates.load import connection
from gates.load.closed import ClosedOutcome, run_closed
from gates.load.dialer import LoadError
from gates.load.engine import run_load
from gates.load.failure import Failure
from gates.load.outcome import LoadOutcome
from gates.load.plan import LoadPlan

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


def plan(
    path: str, *, check: Any = None, connections: int = 4, rate: float = 100, seconds: float = 0.1, **more: Any
) -> LoadPlan:
    """A plan of one flow `do` that asks for *path*."""
    step = {"path": path, "check": check or {"json": {"ok": True}}}
    given = {"timeout": 60.0, **more}
    return LoadPlan("odd", "", rate, seconds, 0.0, connections, mix={"do": 1}, flows={"do": {"steps": [step]}}, **given)


def resident() -> int:
    """Bytes of this process in memory, at most until now."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_host_that_takes_no_connection_is_unreachable_in_time() -> None:
    """The queue of a listener that never accepts is full: connecting hangs, until the timeout says so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        queue = [socket.socket() for _ in range(4)]
        for each in queue:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))

        def look(timeout: float) -> LoadOutcome:
            slow = plan("/", timeout=timeout, rate=2 / timeout, seconds=5 * timeout)
            return run_load(slow, {"main": f"http://127.0.0.1:{port}"}, seed=1)

        outcome = given_time(look, lambda found: found.failures[Failure.UNREACHABLE] >= 4, 0.2, 1, 3)
        for each in queue:
            each.close()
    assert set(outcome.failures) <= {Failure.UNREACHABLE, Failure.UNSENT}
    assert outcome.failures[Failure.UNREACHABLE] >= 4
    assert outcome.planned == len(outcome.intended) == 10


@pytest.mark.end_to_end
def test_endless_bodies_end_as_oversized_and_memory_stays_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at once may hold no more together than one limit says."""
    monkeypatch.setattr(connection, "MOST_HELD", 8 * 1024 * 1024)
    before = resident()
    outcome = run_load(plan("/endless-chunks", rate=80), {"main": url}, seed=1)
    assert outcome.failures == {Failure.OVERSIZED: 8}
    assert "together with others" in outcome.examples[Failure.OVERSIZED][0]
    assert resident() - before < 128 * 1024 * 1024


@pytest.mark.end_to_end
def test_a_body_that_nobody_looks_at_is_not_held(url: str) -> None:
    """An endless one costs no memory when only its status is checked, and is oversized all the same."""
    before = resident()
    outcome = run_load(plan("/endless-chunks", check={"status": 200}, rate=40), {"main": url}, seed=1)
    assert outcome.failures == {Failure.OVERSIZED: 4}
    assert resident() - before < 32 * 1024 * 1024


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate of *name* that signed itself, and a server's side with it."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    files = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


@pytest.mark.needs("openssl", "apt-get install openssl")
def test_an_authority_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    """With `ca` the target is spoken to over kept connections; without it, or under another name, nothing is sent."""
    made, context = certificate(tmp_path, "IP:127.0.0.1")
    with odd_server(context) as secure:
        trusted = run_load(plan("/right", connections=1, ca=str(made)), {"main": secure}, seed=1)
        assert trusted.failures == {}
        assert connections_of(secure) == 1
        large = run_load(plan("/large", ca=str(made)), {"main": secure}, seed=1)
        assert large.failures == {}
        closed = given_time(
            lambda seconds: run_closed(plan("/right", ca=str(made), seconds=seconds), {"main": secure}, seed=1),
            lambda found: found.right > 0,
            0.1,
            1,
            10,
        )
        assert closed.right > 0
        assert not closed.errors
        assert set(run_load(plan("/right"), {"main": secure}, seed=1).failures) == {Failure.TLS}
        elsewhere = secure.replace("127.0.0.1", "localhost")
        assert set(run_load(plan("/right", ca=str(made)), {"main": elsewhere}, seed=1).failures) == {Failure.TLS}


def test_a_target_that_speaks_no_tls_or_hangs_up_is_of_that_class(changing: str) -> None:
    """Whatever is wrong with the handshake, nothing was sent."""
    plain = changing.replace("http:", "https:")
    assert set(run_load(plan("/right"), {"main": plain}, seed=1).failures) == {Failure.TLS}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        over = threading.Event()

        def hang_up() -> None:
            listener.settimeout(0.1)
            while not over.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=hang_up)
        thread.start()
        outcome = run_load(plan("/right"), {"main": f"https://127.0.0.1:{listener.getsockname()[1]}"}, seed=1)
        over.set()
        thread.join()
    assert set(outcome.failures) == {Failure.TLS}


def test_authorities_that_cannot_be_read_are_an_error_by_name(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(LoadError, match="can't be read") as caught:
        run_load(plan("/", ca=str(tmp_path / "none.pem")), {"main": "https://127.0.0.1:1"}, seed=1)
    assert "none.pem" in str(caught.value.location)


CHANGING = """
import asyncio, sys
RIGHT, WRONG = b'{"ok": true}', b'{"ok": null}'
class Server(asyncio.Protocol):
    asked = 0
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        Server.asked += 1
        body = WRONG if Server.asked % 10 == 0 else RIGHT
        head = b"HTTP/1.1 %s\\r\\nContent-Length: 12\\r\\n\\r\\n" % (b"500 Oops" if Server.asked % 20 == 5 else b"200 OK")
        if Server.asked % 20 == 7:
            self.transport.write(head + body[:6])
            asyncio.get_running_loop().call_later(0.002, self.transport.write, body[6:])
        else:
            self.transport.write(head + body)
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("/nan", {"total": {"type": "number", "at_least": 0}}),
        ("/infinite", {"ok": True}),
        ("/ones", {"flags": [True, {"a": False}]}),
        ("/ones", {"flags": {"one_of": [[True, {"a": False}]]}}),
    ],
)
def test_what_only_python_takes_for_right_json_is_a_wrong_body(url: str, path: str, check: dict[str, Any]) -> None:
    """NaN and Infinity are no JSON, and no bound would ever refuse NaN; 1 is not true, however deep it lies."""
    outcome = run_load(plan(path, seconds=0.1, check={"json": check}), {"main": url}, seed=1)
    assert outcome.failures == {Failure.BODY: outcome.due}


@pytest.mark.parametrize(
    "step",
    [
        {"path": "/echo?{id}"},
        {"path": "/echo", "headers": {"X": "{id}"}},
        {"path": "/echo", "method": "POST", "body": {"a": "{id}"}},
        {"path": "/right", "check": {"body_contains": "{id}"}},
    ],
)
def test_a_text_that_no_request_can_hold_is_a_wrong_body_and_breaks_nothing(
    url: str, step: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """JSON can spell one half of a surrogate pair, which has no bytes: the answer that was captured from is wrong."""
    first = {"path": "/half-a-pair", "capture": {"id": "id"}}
    flows = {"do": {"steps": [first, step]}}
    outcome = run_load(replace(plan("/", seconds=0.1), flows=flows), {"main": url}, seed=1)
    assert outcome.failures == {Failure.BODY: outcome.due}
    assert "half of a surrogate pair" in outcome.examples[Failure.BODY][0]
    assert not caplog.records


def test_an_example_of_what_went_wrong_can_always_be_written(url: str) -> None:
    """What a target sent may hold characters that have no bytes; a report of it must not fail for that."""
    outcome = run_load(plan("/half-a-pair", seconds=0.1, check={"json": {"id": "job-1"}}), {"main": url}, seed=1)
    assert r"\ud800" in outcome.examples[Failure.BODY][0].encode().decode()


@pytest.fixture
def changing() -> Iterator[str]:
    """A server each of whose twenty answers has two wrong bodies, one wrong status and one that comes in two pieces."""
    with subprocess.Popen([sys.executable, "-c", CHANGING], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def test_every_response_is_checked_although_most_repeat(changing: str) -> None:
    """What is recognised by its bytes must be the same bytes: one wrong body among right ones of its size and head is seen.

    A check that is dropped, or a response that is taken for one that it is not, makes this fail.
    """
    outcome = run_load(plan("/", connections=1, rate=1000, seconds=0.4), {"main": changing}, seed=1)
    assert outcome.failures == {Failure.BODY: 40, Failure.STATUS: 20}
    assert set(outcome.code.tolist()) == {200, 500}
    assert int((outcome.code == 500).sum()) == 20


def test_the_closed_loop_checks_every_response_as_well(changing: str) -> None:
    """The shares of wrong answers are exact, whatever the speed."""
    outcome = given_time(
        lambda seconds: run_closed(plan("/", connections=1, seconds=seconds), {"main": changing}, seed=1),
        lambda found: found.requests > 100,
        0.5,
        5,
        20,
    )
    assert outcome.requests > 100
    assert outcome.failures[Failure.BODY] == pytest.approx(outcome.requests / 10, abs=2)
    assert outcome.failures[Failure.STATUS] == pytest.approx(outcome.requests / 20, abs=2)
    assert outcome.examples[Failure.BODY][0].startswith("do on main: ok: expected true, got null")


@pytest.mark.end_to_end
@pytest.mark.parametrize("path", ["/closed", "/garbage", "/reset", "/silent", "/endless-headers", "/last", "/half-closed"])
def test_the_closed_loop_hangs_on_nothing_and_ends_in_time(url: str, path: str) -> None:
    """Connections that end are opened again, and the end comes when it should."""

    def look(seconds: float) -> ClosedOutcome:
        began = time.monotonic()
        found = run_closed(plan(path, seconds=seconds, timeout=seconds * 0.4), {"main": url}, seed=1)
        assert time.monotonic() - began < seconds + PATIENCE
        return found

    outcome = given_time(look, lambda found: found.requests >= 4 and (found.right > 0 or path != "/last"), 0.5, 2, 10)
    assert outcome.requests >= 4
    assert (outcome.right > 0) == (path == "/last")


def test_the_closed_loop_does_not_storm_a_port_where_nobody_listens() -> None:
    """A refusal is counted, and the next attempt waits a moment."""
    with odd_server() as gone:
        pass
    outcome = given_time(
        lambda seconds: run_closed(plan("/", seconds=seconds), {"main": gone}, seed=1),
        lambda found: found.requests > 0,
        0.3,
        0.6,
    )
    assert set(outcome.failures) == {Failure.REFUSED}
    assert outcome.requests < 300


def test_a_closed_loop_keeps_to_mix_and_endpoints(url: str) -> None:
    """Flows come by their weights, at the endpoint that they name, and are counted apart."""
    flows = {
        "seldom": {"steps": [{"path": "/right", "check": {"json": {"ok": True}}}]},
        "often": {"endpoint": "b", "steps": [{"path": "/right", "capture": {"job": "id"}}, {"path": "/echo/{job}"}]},
    }

    def look(seconds: float) -> ClosedOutcome:
        both = LoadPlan("odd", "", 1, seconds, 0.1, 4, 60.0, {"seldom": 1, "often": 3}, flows)
        return run_closed(both, {"a": url, "b": url}, seed=1)

    outcome = given_time(look, lambda found: found.right > 50, 0.6, 3, 10)
    assert not outcome.errors
    counts = {key: histogram.total for key, histogram in outcome.service.items()}
    assert counts["often", "a"] == 0
    assert counts["seldom", "a"] > 0
    assert counts["often", "b"] == pytest.approx(3 * counts["seldom", "b"], abs=30)
    assert outcome.seconds > 0.4


def test_a_stopped_closed_loop_keeps_what_was_measured(url: str) -> None:
    """As for the open one: what was counted until then is there."""
    stop, told = threading.Event(), []

    def on_second(report: Any) -> None:
        told.append(report.done)
        if report.done:
            stop.set()

    outcome = run_closed(plan("/right", seconds=60), {"main": url}, seed=1, on_second=on_second, stop=stop)
    assert outcome.stopped
    assert outcome.right >= sum(told) > 0
    assert outcome.seconds < 30
