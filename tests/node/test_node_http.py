"""The node's interface over real HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from node_process import ECHO, KEY, RunningNode, Start
from waiting import Bound

pytestmark = pytest.mark.end_to_end

SPEC: dict[str, object] = {"kind": {"Echo": {"payload": "hello"}}}


def await_completed(node: RunningNode, job: str) -> dict[str, object]:
    """The job once it is executed."""
    in_time = Bound(f"job {job} is completed")
    while (found := node.ask("GET", f"/mesh/jobs/{job}")[1])["status"] != "Completed":
        in_time()
    return dict(found)


def test_a_submitted_echo_job_is_stored_executed_and_charged(node: RunningNode) -> None:
    """The id that the client got leads to the completed job with its payload; its price was burned, the rest given back."""
    node.finished()
    before, burned = node.balance(), node.burned()
    status, body = node.submit("first")
    assert status == 200
    assert list(body) == ["job_id"]
    job = await_completed(node, body["job_id"])
    assert (job["result"], job["cost_mana"], job["idempotency_key"]) == ("hello", 10, "first")
    assert 0 < job["price_mana"] <= 10
    assert before - node.balance() == node.burned() - burned == job["price_mana"]


def test_a_repeated_key_gets_the_same_job_and_is_charged_once(node: RunningNode) -> None:
    """Fifty clients that send one key at the same time get one job and pay once."""
    node.finished()
    before = node.balance()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: node.submit("repeated", cost_mana=7), range(50)))
    assert {status for status, _ in answers} == {200}
    assert len({body["job_id"] for _, body in answers}) == 1
    (job,) = (job for job in node.finished() if job["idempotency_key"] == "repeated")
    assert before - node.balance() == job["price_mana"]
    assert sum(job["idempotency_key"] == "repeated" for job in node.jobs()) == 1


def test_a_key_used_for_another_job_is_a_conflict(node: RunningNode) -> None:
    """The second body is refused with 409 and costs nothing."""
    node.submit("conflict")
    node.finished()
    before = node.balance()
    status, body = node.submit("conflict", cost_mana=11)
    assert status == 409
    assert "Idempotency-Key" in body["error"]
    assert node.balance() == before


def test_without_a_key_the_content_is_the_key(node: RunningNode) -> None:
    """The same job sent twice without a key is one job; another content is another."""
    one, same, other = (node.submit(manifest_cid=manifest)[1]["job_id"] for manifest in ("bafyone", "bafyone", "bafytwo"))
    assert one == same != other


def test_spec_bytes_are_the_same_as_spec_json(node: RunningNode) -> None:
    """A specification may come base64-encoded, as the interface's example has it; it is the same job."""
    spec = base64.b64encode(json.dumps(ECHO["spec_json"]).encode()).decode()
    encoded = {"manifest_cid": "bafybytes", "spec_bytes": spec, "cost_mana": 10}
    status, body = node.ask("POST", "/mesh/submit", encoded, {"Idempotency-Key": "bytes"})
    assert status == 200
    assert node.submit("bytes", manifest_cid="bafybytes") == (200, body)


def test_more_mana_than_there_is_is_402_and_nothing_is_stored(start: Start) -> None:
    """A refused job leaves no trace, a job that can be paid is still taken, and what was done before is still answered."""
    node = start("--mana", "15")
    first = node.submit("a")
    status, body = node.submit("b", cost_mana=16)
    assert status == 402
    assert "insufficient mana" in body["error"]
    assert node.submit("c", cost_mana=5)[0] == 200
    assert [job["status"] for job in node.finished()] == ["Completed", "Completed"]
    assert node.balance() == 15 - node.burned()
    assert [job["idempotency_key"] for job in node.jobs()] == ["a", "c"]
    assert node.submit("a") == first


NESTED = b'{"manifest_cid":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe{}", 400),
        (b'{"cost_mana": NaN}', 400),
        (b'{"cost_mana": 1' + b"0" * 5000 + b"}", 400),
        (NESTED, 400),
        (b"[]", 422),
        (b'"text"', 422),
        ({}, 422),
        ({**ECHO, "cost_mana": -1}, 422),
        ({**ECHO, "cost_mana": 0}, 422),
        ({**ECHO, "cost_mana": 1.5}, 422),
        ({**ECHO, "cost_mana": True}, 422),
        ({**ECHO, "cost_mana": "10"}, 422),
        ({**ECHO, "cost_mana": 10**30}, 422),
        ({**ECHO, "manifest_cid": ""}, 422),
        ({**ECHO, "manifest_cid": ["x"]}, 422),
        ({**ECHO, "spec_json": {"kind": "Echo"}}, 422),
        ({**ECHO, "spec_json": {"kind": {"Echo": {"payload": 5}}}}, 422),
        ({**ECHO, "spec_json": {"kind": {"Wasm": {}}}}, 422),
        ({**ECHO, "spec_json": {"kind": {"Echo": {"payload": "\ud800"}}}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "inputs": "bafy"}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "inputs": [[[]]]}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "outputs": 10**400}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "required_resources": 3.5}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "required_resources": {"cpu_cores": -1}}}, 422),
        ({**ECHO, "spec_json": {**SPEC, "required_resources": {"cpu": 1}}}, 422),
        ({**ECHO, "spec_bytes": "!"}, 422),
        ({**ECHO, "surplus": 1}, 422),
        ({"manifest_cid": "bafy", "spec_bytes": 5, "cost_mana": 1}, 422),
        ({"manifest_cid": "bafy", "spec_bytes": "e30=x", "cost_mana": 1}, 422),
        ({"manifest_cid": "bafy", "spec_bytes": "e30", "cost_mana": 1}, 422),
        ({"manifest_cid": "bafy", "spec_bytes": "fQ==", "cost_mana": 1}, 400),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(node: RunningNode, body: object, status: int) -> None:
    """Wrong JSON is 400, JSON of the wrong kind 422; the error is a text, and mana and jobs are as before."""
    before = node.balance(), len(node.finished())
    got, answer = node.ask("POST", "/mesh/submit", body, {"Idempotency-Key": "bad"})
    assert got == status
    assert list(answer) == ["error"]
    assert isinstance(answer["error"], str)
    assert (node.balance(), len(node.jobs())) == before


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "ü"])
def test_a_bad_idempotency_key_is_refused(node: RunningNode, key: str) -> None:
    """A key is 1 to 128 visible ASCII characters."""
    body = json.dumps(ECHO).encode()
    status, _ = node.ask("POST", "/mesh/submit", body, {"Idempotency-Key": key})
    assert status == 400


def test_a_body_beyond_the_limit_is_413(node: RunningNode) -> None:
    """A declared length is refused before the body is read."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.putrequest("POST", "/mesh/submit")
    connection.putheader("Content-Length", str(2 * 1024 * 1024))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_chunked_body_beyond_the_limit_is_413(node: RunningNode) -> None:
    """Without a declared length the body is cut off as soon as it is too long."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    chunks = (b"x" * 65536 for _ in range(17))
    connection.request("POST", "/mesh/submit", chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_beyond_the_limit_that_is_sent_whole_is_told_so(node: RunningNode) -> None:
    """The rest is taken and thrown away: a connection that is closed on it would take the answer along."""
    for _ in range(5):
        assert node.ask("POST", "/mesh/submit", b"x" * 4 * 2**20)[0] == 413


def test_what_is_no_request_gets_an_error_and_no_line_in_the_log(start: Start) -> None:
    """Else everybody could fill the disk, or stop a node whose talk nobody reads."""
    node = start()
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"error": "Invalid HTTP request received."}')
    node.process.terminate()
    assert node.process.stderr is not None
    assert node.process.stderr.read() == ""


def test_requests_that_are_sent_without_waiting_for_answers_are_bounded(node: RunningNode) -> None:
    """The connection of who sends thousands at once is ended, before they are all in memory."""
    answers = bytearray()
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
        while some := connection.recv(65536):
            answers += some
    assert answers.count(b"HTTP/1.1 200") <= 50
    assert node.ask("GET", "/health")[0] == 200


def test_a_request_that_breaks_off_changes_nothing(node: RunningNode) -> None:
    """Half a body and a closed connection: no job, and the node goes on."""
    before = len(node.jobs())
    with socket.create_connection(("127.0.0.1", node.port)) as half:
        half.sendall(f"POST /mesh/submit HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert node.submit("after-the-break")[0] == 200
    assert len(node.jobs()) == before + 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/mesh/jobs/bafyunknown", 404),
        ("GET", "/nothing", 404),
        ("GET", "/mesh/submit", 405),
        ("GET", "/account/nobody/mana", 400),
        ("GET", "/mesh/jobs?after=x", 400),
        ("GET", "/mesh/jobs?limit=-1", 400),
    ],
)
def test_what_is_not_there_has_its_own_code(node: RunningNode, method: str, path: str, status: int) -> None:
    """Every refusal is {"error": text}."""
    got, answer = node.ask(method, path)
    assert got == status
    assert list(answer) == ["error"]


def test_a_full_job_specification_is_taken(node: RunningNode) -> None:
    """Inputs, outputs and resources in their right types are part of a job."""
    resources = {"cpu_cores": 0, "memory_mb": 64, "storage_mb": 1}
    spec = {**SPEC, "inputs": ["bafyone"], "outputs": ["out"], "required_resources": resources}
    assert node.submit("full", spec_json=spec)[0] == 200


def test_a_path_with_a_slash_too_many_is_not_there(node: RunningNode) -> None:
    """It is no redirect, which a client with a body may follow without it."""
    assert node.ask("GET", "/mesh/jobs/x/") == (404, {"error": "no such path"})
    assert node.ask("POST", "/mesh/submit/", ECHO) == (404, {"error": "no such path"})


@pytest.mark.parametrize("start", [b"GET /health HTTP/1.1\r\nX: ", b"GET /", b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 9])
def test_endless_headers_are_cut_off(node: RunningNode, start: bytes) -> None:
    """A request whose head does not end is refused at 64 KiB, not collected, and the node serves on."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        sent, filler = 0, b"X: y\r\n" if start.endswith(b"\n") else b"a"
        try:
            connection.sendall(start)
            while True:
                connection.sendall(filler * (8192 // len(filler)))
                sent += 8192
                assert sent < 16 * 2**20, "the node collects without end"
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert node.ask("GET", "/health")[0] == 200


def test_an_unknown_account_has_no_mana(node: RunningNode) -> None:
    """Where the original says 0 for any text, an account that was never opened is not there."""
    assert node.ask("GET", "/account/did:key:zNobody/mana")[0] == 404


def test_pages_of_jobs_hold_every_job_once(start: Start) -> None:
    """`next` leads from page to page, in the order in which jobs were stored."""
    node = start()
    for number in range(5):
        node.submit(f"job-{number}")
    seen, after = [], 0
    while after is not None:
        page = node.ask("GET", f"/mesh/jobs?after={after}&limit=2")[1]
        assert len(page["jobs"]) <= 2
        seen += [job["idempotency_key"] for job in page["jobs"]]
        after = page["next"]
    assert seen == [f"job-{number}" for number in range(5)]


def test_metrics_count_what_was_done(start: Start) -> None:
    """Requests, submissions, commits, mana and jobs move with the requests that move them."""
    node = start("--mana", "100")
    job = node.submit("m")[1]["job_id"]
    node.submit("m")
    node.submit("m", cost_mana=1)
    node.ask("POST", "/mesh/submit", {}, {"X-API-Key": "another-key"})
    await_completed(node, job)
    text = node.ask("GET", "/metrics")[1]
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['icn_requests_total{code="200",path="/mesh/submit"}'] == "2.0"
    assert values['icn_requests_total{code="409",path="/mesh/submit"}'] == "1.0"
    assert values['icn_job_submissions_total{outcome="new"}'] == "1.0"
    assert values['icn_job_submissions_total{outcome="repeated"}'] == "1.0"
    assert values['icn_requests_total{code="401",path="/mesh/submit"}'] == "1.0"
    assert values['icn_mana{kind="minted"}'] == "100.0"
    assert values['icn_jobs{status="Completed"}'] == "1.0"
    assert float(values['icn_storage_commit_changes_count{database="ledger"}']) >= 2


def test_mana_is_spent_once_a_key(start: Start) -> None:
    """Repeated, it is the same spend; with another amount it is a conflict; and nobody spends what is not there."""
    node = start("--mana", "100")
    key = {"Idempotency-Key": "rent"}
    assert node.ask("POST", "/account/spend", {"amount": 30}, key) == (200, {"spent": 30, "balance": 70})
    assert node.ask("POST", "/account/spend", {"amount": 30}, key) == (200, {"spent": 30, "balance": 70})
    assert node.ask("POST", "/account/spend", {"amount": 31}, key)[0] == 409
    assert node.ask("POST", "/account/spend", {"amount": 30})[1]["balance"] == 40
    assert node.ask("POST", "/account/spend", {"amount": 41})[0] == 402
    for wrong in (0, -1, 1.5, "1", True, 10**16):
        assert node.ask("POST", "/account/spend", {"amount": wrong})[0] == 422
    assert node.ask("GET", "/ledger/audit")[1]["burned"] == 60
