"""What a crash, a full stop and a locked database leave behind."""

from __future__ import annotations

import base64
import http.client
import json
import re
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from node_process import KEY, NODE, RunningNode, Start
from waiting import Bound, await_that

pytestmark = pytest.mark.end_to_end
DEFECT = (sys.executable, "-m", "gates.node.defects")
HEAD = f"HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
"""The rest of a request's first line, and the headers of one that is let in."""


def submit_until_gone(node: RunningNode, worker: int, *, falls_behind: bool) -> list[tuple[str, str]]:
    """(key, job) of all that was acknowledged before the node was killed.

    A node that answers before it commits is not slowed down by its disk: it *falls behind*, and may say it takes no writes.
    """
    acknowledged: list[tuple[str, str]] = []
    in_time = Bound("a node that is killed takes no more submissions")
    while True:
        in_time()
        key = f"{worker}-{len(acknowledged)}"
        try:
            status, body = node.submit(key)
        except (OSError, http.client.HTTPException):
            return acknowledged
        if falls_behind and status == 503 and body.get("read_only"):
            continue
        assert status == 200, body
        acknowledged.append((key, body["job_id"]))


def kill_under_load(node: RunningNode, *, falls_behind: bool = False) -> list[tuple[str, str]]:
    """SIGKILL in the middle of eight clients' submissions; what they were promised."""
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(submit_until_gone, node, worker, falls_behind=falls_behind) for worker in range(8)]
        await_that(lambda: len(node.jobs()) >= 200, "200 jobs are stored")
        node.process.kill()
        return [promise for client in clients for promise in client.result()]


def test_a_killed_node_has_every_job_that_it_acknowledged(start: Start) -> None:
    """After SIGKILL the store opens clean, holds what was promised, mana adds up and unfinished jobs are finished."""
    node = start("--mana", "1000000")
    promised = kill_under_load(node)
    node.process.wait()
    with closing(sqlite3.connect(node.data / "ledger.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again = start("--mana", "1000000")
    assert len(promised) >= 200 - 8  # of the stored jobs, one a client may not have been answered yet
    stored = again.finished()
    assert {(job["idempotency_key"], job["job_id"]) for job in stored} >= set(promised)
    assert {job["status"] for job in stored} == {"Completed"}
    assert 1_000_000 - again.balance() == sum(job["price_mana"] for job in stored)
    assert again.ask("GET", "/ledger/audit")[1]["balanced"]


def test_acknowledging_before_the_commit_loses_jobs(start: Start) -> None:
    """The defect `ack-before-durable` is real: the same crash loses jobs, and its log names them."""
    node = start(command=(*DEFECT, "ack-before-durable", "--"))
    promised = kill_under_load(node, falls_behind=True)
    node.process.wait()
    stored = {job["job_id"] for job in start().jobs()}
    lost = {key for key, job in promised if job not in stored}
    assert lost
    assert lost <= {json.loads(line)["key"] for line in (node.data / "defect.jsonl").read_text().splitlines()}


def test_double_charge_and_forget_keys_do_what_they_are_for(start: Start) -> None:
    """`double-charge` takes mana again for a repeated key; `forget-keys` makes a second job of it."""
    charging = start("--mana", "100", folder="one", command=(*DEFECT, "double-charge", "--"))
    forgetting = start("--mana", "100", folder="two", command=(*DEFECT, "forget-keys", "--"))
    for node in (charging, forgetting):
        assert [node.submit("twice")[0] for _ in range(2)] == [200, 200]
        node.finished()
        assert json.loads((node.data / "defect.jsonl").read_text())["key"] == "twice"
    assert [len(node.jobs()) for node in (charging, forgetting)] == [1, 2]
    missing = [100 - node.balance() - sum(job["price_mana"] for job in node.jobs()) for node in (charging, forgetting)]
    assert missing == [10, 0]


def test_the_first_opening_mints_and_a_restart_does_not(start: Start) -> None:
    """The original minted at every boot; here the balance survives a restart."""
    node = start("--mana", "100")
    node.submit("k")
    node.finished()
    node.process.terminate()
    assert node.process.wait(10) == 0
    again = start("--mana", "100")
    assert again.balance() == 100 - again.burned() < 100
    assert again.ask("GET", "/info")[1]["minted_mana"] == 100


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
from gates.node.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_never_leads_to_a_false_promise(start: Start) -> None:
    """When files can't grow, a submission is answered with 500 (nobody knows) or 503 (not done) and /ready with 503."""
    node = start(command=(sys.executable, "-c", LIMITED))
    promised: list[str] = []
    in_time = Bound("files that may not grow refuse a submission")
    while in_time() and (answer := node.submit(f"full-{len(promised)}"))[0] == 200:
        promised.append(answer[1]["job_id"])
    assert answer[0] in (500, 503)
    assert len(promised) > 5
    probes = 0  # a probe writes less than a job, so that some of them still find room
    while node.ask("GET", "/ready")[0] == 200:
        probes += 1
        assert probes < 500
    assert node.ask("GET", "/health")[0] == 200
    node.process.kill()
    node.process.wait()
    again = start()
    assert {job["job_id"] for job in again.jobs()} >= set(promised)
    assert again.finished()
    assert again.ask("GET", "/ledger/audit")[1]["balanced"]


def test_two_nodes_never_share_a_folder(start: Start, tmp_path: Path) -> None:
    """The second node ends with an error that names the folder, and the first goes on."""
    node = start()
    second = subprocess.run(
        [*NODE, "--name", "node-b", "--data", str(node.data)], capture_output=True, text=True, timeout=10, check=False
    )
    assert second.returncode == 1
    assert second.stderr == f"node-b: {node.data} belongs to another running node\n"
    assert node.submit("k")[0] == 200


def test_what_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    """A file of another kind is left as it is."""
    (tmp_path / "ledger.db").write_text("letters " * 1000)
    ended = subprocess.run(
        [*NODE, "--name", "node-a", "--data", str(tmp_path)], capture_output=True, text=True, timeout=10, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, f"node-a: {tmp_path / 'ledger.db'}: file is not a database\n")
    assert (tmp_path / "ledger.db").read_text() == "letters " * 1000


def test_a_taken_port_is_one_sentence(start: Start, tmp_path: Path) -> None:
    """Who asks for a port that is in use is told which, without a traceback."""
    node = start()
    command = [*NODE, "--name", "node-b", "--data", str(tmp_path / "other"), "--port", str(node.port)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert second.returncode == 1
    assert second.stderr == f"node-b: can't listen on 127.0.0.1:{node.port}: Address already in use\n"


def resident(node: RunningNode) -> int:
    """Resident memory of the node in MiB."""
    (line,) = (line for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system allows, for the test and the nodes that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("the system allows fewer than 4,096 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_thousands_of_clients_that_stall_take_little_and_others_are_served(many_files: None, start: Start) -> None:
    """2,000 clients announce a body and never send it: less than 50 KiB each, and a job is still taken."""
    node = start("--mana", "100")
    before = resident(node)
    with ExitStack() as stack:
        for _ in range(2000):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=10))
            client.sendall(f"POST /mesh/submit {HEAD}Content-Length: 1000000\r\n\r\n".encode())
        await_that(lambda: node.metric("icn_requests_in_flight") > 2000, "all of them are waited for", limit=5)
        assert node.submit("among-them")[0] == 200
        assert resident(node) - before < 100
        assert node.metric("icn_requests_in_flight") > 2000, "some were let go before they were weighed"
    assert node.submit("after-them")[0] == 200
    assert len(node.finished()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hundreds_of_clients_that_take_no_answers_are_let_go(many_files: None, start: Start) -> None:
    """400 clients ask for a block of 700 KB and never read it: the node keeps few of the answers, and others are served."""
    node = start()
    data = base64.b64encode(bytes(700_000)).decode()
    cid = node.ask("POST", "/dag/put", {"data": data})[1]
    before = resident(node)
    body = json.dumps({"cid": cid}).encode()
    head = f"POST /dag/get {HEAD}Content-Length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(400):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", node.port))
            stack.enter_context(client).sendall(head + body)
        assert node.submit("among-them")[0] == 200
        assert node.ask("POST", "/dag/get", {"cid": cid}) == (200, data)
        assert resident(node) - before < 200
        assert node.metric("icn_connections") < 200


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_clients_that_send_thousands_of_requests_at_once_take_little(many_files: None, start: Start) -> None:
    """200 clients send 8,000 requests each without waiting for an answer: less than 50 MiB, and others are served."""
    node = start()
    counted = "icn_requests_total"
    before, sent, many = resident(node), list[int](), f"GET /info {HEAD}\r\n".encode() * 8000
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=10))
            client.setblocking(False)
            sent.append(client.send(many))
        assert node.submit("among-them")[0] == 200
        assert resident(node) - before < 50
        await_that(lambda: node.metric(f'{counted}{{code="200",path="/info"}}') == 200, "the first of each is answered")
        await_that(lambda: node.metric("icn_connections") < 20, "those who go on sending are let go")
        assert node.metric(f'{counted}{{code="401",path="/info"}}') == 0, "what is turned away for its proof weighs nothing"
    assert min(sent) > 100_000, "the thousands were not sent"


# --- what is synced before an answer ----------------------------------------------------------------------------------

UNSYNCED = """
import sys, gates.node.storage as store
connect = store._connect
def unsynced(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.execute("PRAGMA synchronous = OFF")
    return connection
store._connect = unsynced
from gates.node.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
TRACED = (
    "strace",
    "-f",
    "-yy",
    "-s",
    "64",
    "--seccomp-bpf",
    "-e",
    "trace=fsync,fdatasync,sync_file_range,read,recvfrom,write,sendto",
)


def syncs_before_answers(trace: str) -> list[int]:
    """How often the log of the database was synced between each submission's arrival and its answer, from strace's lines."""
    waiting: dict[str, str] = {}
    counts: list[int] = []
    synced, asked = 0, False
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            waiting[thread] = call
            begun, done = call, ""
        else:
            begun = waiting.pop(thread, "") if "resumed>" in call else call
            done = call
        if re.search(r"sync\(\d+<[^>]*ledger\.db-wal>", begun) and done.endswith("= 0"):
            synced += 1
        if done.partition('"')[2].startswith("POST /mesh/submit"):
            synced, asked = 0, True
        if asked and '"HTTP/1.1 200' in begun:
            counts.append(synced)
            asked = False
    return counts


@pytest.mark.needs("strace", "apt-get install strace")
@pytest.mark.parametrize(("program", "least"), [(("-m", "gates.node"), 1), (("-c", UNSYNCED), 0)], ids=["synced", "unsynced"])
def test_every_answer_is_preceded_by_a_sync_of_the_log(
    start: Start, tmp_path: Path, program: tuple[str, ...], least: int
) -> None:
    """Between the arrival of a submission and its answer the WAL is synced; with synchronous=OFF the count is 0."""
    log = tmp_path / "strace"
    node = start(command=(*TRACED, "-o", str(log), sys.executable, *program))
    for number in range(20):
        job = node.submit(f"sync-{number}")[1]["job_id"]
        # its completion is synced too, and must not count for the next answer
        await_that(lambda job=job: node.ask("GET", f"/mesh/jobs/{job}")[1]["status"] == "Completed", f"{job} is completed")
    counts = syncs_before_answers(log.read_text())
    assert len(counts) == 20
    assert (min(counts) >= 1) if least else (max(counts) == 0), counts
