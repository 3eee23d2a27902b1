"""The open loop against real servers, right ones and odd ones."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_server import connections_of, odd_server
from waiting import given_time

from gates.load.engine import LoadError, run_load
from gates.load.failure import Failure
from gates.load.flows import Step
from gates.load.outcome import LoadOutcome, SecondReport
from gates.load.plan import LoadPlan
from gates.load.program import Request

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


def load(*steps: dict[str, Any], rate: float = 400, seconds: float = 0.05, timeout: float = 60, **more: Any) -> LoadPlan:
    """A plan of one flow `do` with *steps*."""
    flow = {"steps": list(steps), **more.pop("flow", {})}
    given = {"connections": 20, "mix": {"do": 1}, **more}
    return LoadPlan("test", "", rate, seconds, 0.0, timeout=timeout, flows={"do": flow}, **given)


def was_connected(outcome: LoadOutcome) -> bool:
    """Whether every connection was made within the timeout; a busy machine may have needed longer."""
    return Failure.UNREACHABLE not in outcome.failures


def run(url: str, *steps: dict[str, Any], record: bool = False, **more: Any) -> LoadOutcome:
    """What became of a short load with *steps* on the server at *url*."""
    return run_load(load(*steps, **more), {"main": url}, seed=1, record=record)


@pytest.mark.parametrize(
    "path", ["/right", "/chunked", "/until-the-end", "/continue", "/last", "/large", "/until-the-end-in-pieces"]
)
def test_right_answers_in_every_framing_are_right(url: str, path: str) -> None:
    """Lengths, chunks, the end of the connection, an interim response and a last one all delimit a body that is checked."""
    outcome = run(url, {"path": path, "check": {"status": 200, "json": {"ok": True}}})
    assert outcome.failures == {}
    assert outcome.right.sum() == 20


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        ("/refused", Failure.STATUS),
        ("/other", Failure.BODY),
        ("/not-json", Failure.BODY),
        ("/garbage", Failure.GARBAGE),
        ("/short-length", Failure.GARBAGE),
        ("/long-length", Failure.TIMEOUT),
        ("/truncated", Failure.TRUNCATED),
        ("/in-pieces", Failure.TRUNCATED),
        ("/drip", Failure.TIMEOUT),
        ("/interim-for-ever", Failure.OVERSIZED),
        ("/two-answers", Failure.GARBAGE),
        ("/bad-chunk", Failure.GARBAGE),
        ("/upgrade", Failure.GARBAGE),
        ("/reset-in-the-middle", Failure.RESET),
        ("/closed", Failure.CLOSED),
        ("/half-closed", Failure.CLOSED),
        ("/reset", Failure.RESET),
        ("/endless-headers", Failure.OVERSIZED),
        ("/silent", Failure.TIMEOUT),
    ],
)
def test_every_odd_answer_is_counted_by_its_class_and_none_hangs(url: str, path: str, failure: Failure) -> None:
    """Each arrival ends in the class of its error, with an example; one that hung would be a timeout."""

    def look(timeout: float) -> LoadOutcome:
        return run(url, {"path": path, "check": {"json": {"ok": True}}}, seconds=0.025, timeout=timeout)

    waits = failure is Failure.TIMEOUT
    outcome = given_time(look, lambda found: set(found.failures) == {failure}, 0.3, 1, 4) if waits else look(60)
    assert outcome.failures == {failure: 10}
    assert outcome.examples[failure]


def test_a_dead_port_is_refused_and_surely_nothing_was_done() -> None:
    """Connections that nobody accepts fail at once, and the history says `fail`, not `unknown`."""
    with odd_server() as gone:
        pass
    outcome = run(gone, {"path": "/"}, record=True)
    assert outcome.failures == {Failure.REFUSED: 20}
    assert np.isnan(outcome.sent).all()
    assert {operation.status for operation in outcome.operations} == {"fail"}


def test_arrivals_without_a_free_connection_are_counted_as_unsent_and_their_wait_counts(url: str) -> None:
    """One connection that hangs leaves the others waiting: none is skipped, and their latency is the time that they waited."""
    outcome = given_time(
        lambda timeout: run(url, {"path": "/silent"}, connections=1, record=True, timeout=timeout), was_connected, 0.15, 1, 5
    )
    assert len(outcome.intended) == 20
    assert outcome.failures[Failure.UNSENT] + outcome.failures[Failure.TIMEOUT] == 20
    assert outcome.failures[Failure.UNSENT] >= 18
    unsent = outcome.failure == Failure.UNSENT
    assert outcome.latency[unsent] == pytest.approx(outcome.end - outcome.intended[unsent])
    assert outcome.timed.all()
    assert len({operation.key for operation in outcome.operations}) == 20


def test_latency_counts_from_the_intended_start_and_service_from_the_sending(url: str) -> None:
    """While the only connection is busy for 0.15 s, others wait: their latency shows it, their service time does not."""

    def look(timeout: float) -> tuple[float, LoadOutcome]:
        with odd_server() as slow:
            plan = load({"path": "/silent"}, connections=1, rate=3 / timeout, seconds=timeout * 4 / 3, timeout=timeout)
            return timeout, run_load(plan, {"main": slow}, seed=1)

    timeout, outcome = given_time(look, lambda found: bool(found[1].service[0] < 1.5 * found[0]), 0.15, 1, 5)
    assert outcome.latency[1] > outcome.service[1] + timeout / 3
    assert outcome.service[0] == pytest.approx(timeout, rel=0.5)


def test_an_optional_capture_is_kept_where_it_is_there(url: str) -> None:
    """What is not there is no error; without the question mark it is a wrong body."""
    outcome = run(url, {"path": "/right", "capture": {"job": "/id?", "age": "age_seconds?"}}, record=True)
    assert outcome.failures == {}
    assert outcome.operations[0].answer == {"job": "job-1"}
    assert set(run(url, {"path": "/right", "capture": {"age": "age_seconds"}}).failures) == {Failure.BODY}


def test_a_refusal_keeps_the_optional_captures_of_its_headers(url: str) -> None:
    """So a history tells which refusals said when to come again; one that did not has no answer."""
    for path, answer in (("/later", {"wait": "2"}), ("/refused", None)):
        outcome = run(url, {"path": path, "capture": {"wait": "header:Retry-After?"}}, record=True)
        operation = outcome.operations[0]
        assert (operation.status, operation.code, operation.answer) == ("fail", 503, answer)


def test_slots_are_shared_by_many_arrivals(url: str) -> None:
    """A few numbers, the same for the same seed."""
    flow = {"value": {"slot": "{slot}"}}
    slots, again = (
        [each.value["slot"] for each in run(url, {"path": "/right"}, record=True, seconds=0.25, flow=flow).operations]
        for _ in range(2)
    )
    assert slots == again
    assert 8 <= len(set(slots)) <= 16


def test_variables_captures_and_steps_run_through_a_flow(url: str) -> None:
    """A captured value reaches the next request and the next check; texts are escaped where they stand."""
    outcome = run(
        url,
        {"path": "/right", "capture": {"job": "/id", "second": "numbers.1", "kind": "header:Content-Type"}},
        {
            "method": "POST",
            "path": "/echo/{job}/{quote}",
            "headers": {"X-Key": "{key}"},
            "body": {"job": "{job}", "key": "{key}", "n": "{n}", "odd": "{quote}", "second": "{second}", "as_is": "{{n}}"},
            "check": {
                "json": {"job": "job-1", "key": "{key}", "n": "{n}", "odd": 'a "b" c/d', "second": "2", "as_is": "{{n}}"},
                "headers": {"X-Path": "/echo/job-1/a%20%22b%22%20c/d", "content-type": {"matches": "json"}},
            },
        },
        flow={"variables": {"quote": 'a "b" c/d'}, "value": {"asked": "{job}"}},
        record=True,
    )
    assert outcome.failures == {}, outcome.examples
    operation = outcome.operations[3]
    assert (operation.kind, operation.endpoint, operation.status, operation.code) == ("do", "main", "ok", 200)
    assert operation.answer == {"job": "job-1", "second": "2", "kind": "application/json"}
    assert operation.value == {"asked": "job-1"}
    assert len({each.key for each in outcome.operations}) == 20


def test_a_body_is_filled_up_to_its_size_with_spaces(url: str) -> None:
    """It arrives as the JSON that it was, and is as long as was asked for; a longer one stays as it is."""
    step = {"method": "POST", "path": "/echo/a/b", "body": {"key": "{key}"}, "check": {"json": {"key": "{key}"}}}
    outcome = run(url, {**step, "fill": "200 KiB"}, rate=100)
    assert outcome.failures == {}, outcome.examples
    for fill, length in (("200 KiB", 204_800), ("3 B", 11)):
        request = Request(Step.model_validate({**step, "fill": fill}), url, {}, {})
        head, _, body = request.encode({"key": "k"}).partition(b"\r\n\r\n")
        assert len(body) == length
        assert f"Content-Length: {length}".encode() in head
        assert json.loads(body) == {"key": "k"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/right", "ok"),
        ("/refused", "fail"),
        ("/broken", "unknown"),
        ("/silent", "unknown"),
        ("/reset", "unknown"),
        ("/other", "unknown"),
    ],
)
def test_the_history_says_fail_only_when_surely_nothing_was_done(url: str, path: str, status: str) -> None:
    """A refusal did nothing; an error, a lost answer or a wrong body may have."""

    def look(timeout: float) -> LoadOutcome:
        return run(url, {"path": path, "check": {"json": {"ok": True}}}, seconds=0.02, record=True, timeout=timeout)

    outcome = given_time(look, was_connected, 0.2, 1, 5) if path == "/silent" else look(60)
    assert {operation.status for operation in outcome.operations} == {status}


def test_a_refusal_after_a_step_that_succeeded_is_unknown(url: str) -> None:
    """The first step had its effect, whatever the second says."""
    outcome = run(url, {"path": "/right"}, {"path": "/refused"}, seconds=0.02, record=True)
    assert {operation.status for operation in outcome.operations} == {"unknown"}


def test_connections_are_kept_alive_and_closed_when_the_server_says_so() -> None:
    """One after the other needs one connection for all; `Connection: close` needs one for each."""
    with odd_server() as counted:
        run(counted, {"path": "/right", "check": {"json": {"ok": True}}}, connections=1)
        assert connections_of(counted) == 1
        run(counted, {"path": "/last"}, connections=1)
        assert connections_of(counted) == 1 + 20


def test_endpoints_take_turns_unless_a_flow_names_one(url: str) -> None:
    """Without a name arrivals go round; with one they all go there."""
    plan = load({"path": "/right"})
    turns = run_load(plan, {"a": url, "b": url}, seed=1)
    assert turns.endpoint.tolist() == [0, 1] * 10
    named = run_load(load({"path": "/right"}, flow={"endpoint": "b"}), {"a": url, "b": url}, seed=1)
    assert set(named.endpoint.tolist()) == {1}
    with pytest.raises(LoadError, match="'c', which the target does not have; it has a, b"):
        run_load(load({"path": "/right"}, flow={"endpoint": "c"}), {"a": url, "b": url}, seed=1)


def test_a_stopped_run_keeps_what_was_measured(url: str) -> None:
    """When the event is set no more arrivals start; those that became due are there, and the rest is only planned."""
    stop = threading.Event()
    told: list[SecondReport] = []

    def on_second(report: SecondReport) -> None:
        told.append(report)
        if report.due > 80:
            stop.set()

    outcome = run_load(load({"path": "/right"}, rate=100, seconds=60), {"main": url}, seed=1, on_second=on_second, stop=stop)
    assert outcome.stopped
    assert outcome.planned == 6000
    assert len(outcome.intended) == next(report.due for report in told if report.due > 80) < 6000
    assert outcome.right.all()
    assert sum(report.done for report in told) > 50


def test_the_start_is_told_before_the_first_arrival_is_due(url: str) -> None:
    """A fault injector in another thread times itself from that value."""
    told: list[float] = []
    before = time.monotonic()
    run_load(load({"path": "/right"}), {"main": url}, seed=1, on_start=told.append)
    assert before < told[0] < time.monotonic()


def test_a_host_without_an_address_is_an_error_and_no_traceback() -> None:
    """Nothing is sent when there is nowhere to send to."""
    with pytest.raises(LoadError, match="has no address"):
        run_load(load({"path": "/"}), {"main": "http://nothing.invalid:1"}, seed=1)


@pytest.mark.needs("openssl", "apt-get install openssl")
def test_a_certificate_that_does_not_verify_is_its_own_class(tmp_path: Path) -> None:
    """A server that signed its own certificate is not spoken to, and surely nothing was done there."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    files = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with odd_server(context) as secure:
        outcome = run(secure, {"path": "/right"}, seconds=0.02, timeout=5, record=True)
    assert set(outcome.failures) == {Failure.TLS}
    assert {operation.status for operation in outcome.operations} == {"fail"}


STALLING = """
import asyncio, sys, time
now = time.monotonic
class Server(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok" * data.count(b"\\r\\n\\r\\n"))
def stall(loop):
    time.sleep(0.2)
    loop.call_later(0.8, stall, loop)
def tick(loop, before):
    # a busy machine stalls us as well
    if now() - before > 0.02:
        print(before, now(), flush=True)
    loop.call_later(0.005, tick, loop, now())
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.call_later(0.3, stall, loop)
    tick(loop, now())
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_server_that_stalls_is_reported_as_it_was() -> None:
    """Blocked for 0.2 s in each second, uniform arrivals see P(latency > x) = 0.2 - x: p90 100 ms, p95 150 ms, p99 190 ms.

    On a busy machine it is blocked for longer and more often; it says when, and what that makes of each arrival is what is
    compared. A clock that starts when a request is sent shows a p90 of about 1 ms; this test fails with it.
    """
    zero: list[float] = []
    server = subprocess.Popen([sys.executable, "-c", STALLING], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        plan = load({"path": "/"}, rate=500, seconds=4, connections=32)
        outcome = run_load(plan, {"main": url}, seed=1, on_start=zero.append)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        said = server.stdout.read()
        server.stdout.close()
    assert outcome.failures == {}
    assert len(outcome.intended) == 2000
    truth = np.zeros(2000)
    for begin, end in ([float(word) - zero[0] for word in line.split()] for line in said.splitlines()):
        blocked = (begin <= outcome.intended) & (outcome.intended < end)
        truth[blocked] = end - outcome.intended[blocked]
    ranks, held_up = [0.9, 0.95, 0.99], float(np.quantile(outcome.lateness, 0.99))
    measured, expected = np.quantile(outcome.latency, ranks), np.quantile(truth, ranks)
    assert (expected > [0.08, 0.13, 0.17]).all()
    assert (measured > expected - 0.02).all()
    assert (measured < expected + 0.02 + held_up).all()
    assert np.quantile(outcome.service, 0.9) < 0.05 + held_up


def test_an_empty_path_is_the_whole_body() -> None:
    """An interface that answers with a bare JSON text can be checked and captured as well."""
    from gates.load.check import Checker
    from gates.load.flows import Check

    values: dict[str, str] = {}
    checker = Checker(Check.model_validate({"json": {"": {"matches": "^prop-"}}}), {"proposal": ""}, {})
    assert checker.look(200, {}, b'"prop-1"', values) is None
    assert values == {"proposal": "prop-1"}
    assert checker.look(200, {}, b'"other"', values) is not None
    assert checker.look(200, {}, b'{"a": 1}', values) is not None
