"""What users see while a database of a real node is held by somebody else, and that it passes."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from node_process import KEY, RunningNode, Start
from waiting import await_that

pytestmark = pytest.mark.end_to_end
WAL_LOCKS = 120, 8


@contextmanager
def write_locked(database: Path) -> Iterator[None]:
    """Another connection holds the write lock; reads go on."""
    with closing(sqlite3.connect(database, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        yield
        intruder.execute("ROLLBACK")


@contextmanager
def unreadable(database: Path) -> Iterator[None]:
    """Another process holds all locks of the WAL-index, so that nobody can begin to read."""
    with database.with_name(f"{database.name}-shm").open("r+b") as index:
        start, length = WAL_LOCKS
        fcntl.lockf(index, fcntl.LOCK_EX, length, start)
        yield


def ready(node: RunningNode) -> tuple[int, Any]:
    return node.ask("GET", "/ready")


def put(node: RunningNode, data: str = "aGVsbG8=") -> int:
    return node.ask("POST", "/dag/put", {"data": data})[0]


def test_a_ledger_that_takes_no_writes_makes_the_node_read_only(start: Start) -> None:
    """Writes get 503 with Retry-After, balances and jobs are read as before, blocks are taken, and afterwards all is well."""
    node = start()
    job = node.submit("before")[1]["job_id"]
    node.finished()
    with write_locked(node.data / "ledger.db"):
        await_that(lambda: ready(node)[1]["read_only"], "the node shows itself as read-only")
        status, state = ready(node)
        assert (status, state["ready"], state["checks"]["mana_ledger_available"]) == (503, False, False)
        assert state["checks"]["dag_store_available"] is True
        assert state["degraded"] == ["read_only"]
        status, answer = node.submit("locked")
        assert (status, answer["read_only"]) == (503, True)
        assert node.headers("POST", "/mesh/submit", {})["Retry-After"] == "1"
        assert node.ask("GET", f"/mesh/jobs/{job}")[1]["status"] == "Completed"
        assert "stale" not in node.ask("GET", "/account/me/mana")[1]
        assert put(node) == 200
        assert node.ask("GET", "/live")[0] == node.ask("GET", "/health")[0] == 200
        assert node.metric('icn_degraded{mode="read_only"}') == 1
    await_that(lambda: ready(node)[0] == 200, "the node is ready again")
    assert ready(node)[1]["degraded"] == []
    assert node.submit("locked")[0] == 200
    assert sum(found["idempotency_key"] == "locked" for found in node.finished()) == 1
    assert node.metric('icn_degraded{mode="read_only"}') == 0
    assert node.metric("icn_read_only_refusals_total") >= 1


def test_a_balance_that_cannot_be_read_is_served_with_its_age(start: Start) -> None:
    """What was read before is served stale; what was not is 503; and a balance is fresh again as soon as it can be read."""
    node = start()
    did, before = node.did, node.balance()
    with unreadable(node.data / "ledger.db"):
        await_that(lambda: "stale_balances" in ready(node)[1]["degraded"], "stale balances are shown as a degradation")
        status, answer = node.ask("GET", f"/account/{did}/mana")
        assert (status, answer["balance"], answer["stale"]) == (200, before, True)
        assert answer["age_seconds"] >= 0
        assert node.ask("GET", "/mesh/jobs/bafyunknown")[0] == 503
        assert node.ask("GET", "/live")[0] == node.ask("GET", "/status")[0] == 200
        assert node.ask("GET", "/health")[0] == 503
        assert put(node) == 200
    await_that(lambda: "stale" not in node.ask("GET", "/account/me/mana")[1], "balances are fresh again")
    assert node.balance() == before
    assert node.metric('icn_resilient_operations_total{operation="get_mana",outcome="stale"}') >= 1


def test_receipts_wait_while_the_block_store_is_down(start: Start) -> None:
    """Jobs are taken, carried out and paid; their receipts are in the outbox, which is drained when the store is back."""
    node = start()
    with write_locked(node.data / "dag.db"):
        await_that(lambda: "receipts_wait" in ready(node)[1]["degraded"], "receipts that wait are shown as a degradation")
        assert node.submit("waiting")[0] == 200
        (job,) = node.finished()
        assert job["status"] == "Completed"
        status, state = ready(node)
        assert (status, state["checks"]["dag_store_available"], state["outbox_depth"]) == (200, False, 1)
        assert node.ask("POST", "/dag/get", {"cid": job["receipt_cid"]})[0] == 404
        assert put(node) == 503
        await_that(lambda: ready(node)[1]["breakers"]["dag"] != "closed", "the breaker of the block store is not closed")
    await_that(lambda: ready(node)[1]["outbox_depth"] == 0, "the outbox is empty")
    assert node.ask("POST", "/dag/get", {"cid": job["receipt_cid"]})[0] == 200
    await_that(lambda: ready(node)[1]["degraded"] == [], "nothing is degraded any more")


def test_all_but_blocks_and_governance_is_served_while_blocks_cannot_be_read(start: Start) -> None:
    """The node stays ready and says what it can't do; jobs are taken and end, and their receipts wait."""
    node = start()
    cid = node.ask("POST", "/dag/put", {"data": "aGVsbG8="})[1]
    with unreadable(node.data / "dag.db"):
        await_that(lambda: "no_blocks" in ready(node)[1]["degraded"], "that no block can be read is shown as a degradation")
        status, state = ready(node)
        assert (status, state["ready"], state["checks"]["dag_store_available"]) == (200, True, False)
        assert node.ask("POST", "/dag/get", {"cid": cid})[0] == node.ask("GET", "/governance/proposals")[0] == 503
        assert node.headers("POST", "/dag/get", {"cid": cid})["Retry-After"]
        assert node.submit("unseen")[0] == node.ask("GET", "/account/me/mana")[0] == 200
        assert [job["status"] for job in node.finished()] == ["Completed"]
        assert node.metric('icn_degraded{mode="no_blocks"}') == 1
    await_that(lambda: ready(node)[1]["degraded"] == [], "nothing is degraded any more")
    assert node.ask("POST", "/dag/get", {"cid": cid})[0] == 200


def test_a_node_that_sheds_load_says_so_and_stays_ready(start: Start, tmp_path: Path) -> None:
    """The least important are refused with Retry-After while more is asked at once than there is room for; probes are not."""
    config = tmp_path / "node.yaml"
    config.write_text("max_in_flight: 4\n")
    node = start("--config", str(config))

    def submit(_: int) -> int:
        body = {"manifest_cid": "bafym", "spec_json": {"kind": {"Echo": {"payload": "x"}}}, "cost_mana": 1}
        return node.ask("POST", "/mesh/submit", body, {"Priority": "u=7"})[0]

    with ThreadPoolExecutor(32) as many:
        await_that(lambda: 503 in many.map(submit, range(64)), "what is least important is shed")
    status, state = ready(node)
    assert (status, state["ready"], state["degraded"]) == (200, True, ["shedding"])
    assert node.metric('icn_degraded{mode="shedding"}') == 1
    await_that(lambda: ready(node)[1]["degraded"] == [], "it is over some seconds later")


def test_a_waiting_receipt_outlives_a_crash(start: Start) -> None:
    """The outbox is on disk with the job that it belongs to: a node killed meanwhile anchors it at its next start."""
    node = start()
    with write_locked(node.data / "dag.db"):
        node.submit("waiting")
        (job,) = node.finished()
        node.process.kill()
        node.process.wait()
    again = start()
    await_that(lambda: again.ask("POST", "/dag/get", {"cid": job["receipt_cid"]})[0] == 200, "the receipt is anchored")


def test_operators_see_and_reset_the_breakers_and_nobody_else_does(start: Start, tmp_path: Path) -> None:
    """An open breaker is shown with its reason; reset closes it at once; other keys get 403, and none 401."""
    config = tmp_path / "node.yaml"
    other = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    config.write_text(f"preset: testing\nprincipals: {{another-key: {other!r}}}\n")
    node = start("--config", str(config))
    with write_locked(node.data / "dag.db"):
        await_that(
            lambda: put(node) == 503 and node.ask("GET", "/context/breakers")[1]["dag_circuit_open"],
            "blocks are refused by an open breaker",
        )
        shown = node.ask("GET", "/context/breakers")[1]["breakers"]["dag"]
        assert shown["state"] in ("open", "half_open")
        assert shown["last_failure"]
    status, answer = node.ask("POST", "/context/breakers/reset")
    assert (status, answer["dag_circuit_open"], answer["breakers"]["dag"]["state"]) == (200, False, "closed")
    assert put(node) == 200
    for method, path in (("GET", "/context/breakers"), ("POST", "/context/breakers/reset")):
        assert node.ask(method, path, None, {"X-API-Key": "another-key"})[0] == 403
        assert node.ask(method, path, None, {"X-API-Key": f"not-{KEY}"})[0] == 401


def test_a_node_begins_when_its_ledger_is_free(start: Start) -> None:
    """A ledger that is locked while the node starts delays the start: it is alive and not started until the lock is gone."""
    node = start()
    node.process.terminate()
    node.process.wait()
    with write_locked(node.data / "ledger.db"):
        again = start(wait=False)
        await_that(lambda: again.answers("/live"), "the node is alive")
        assert again.ask("GET", "/startup")[0] == 503
        assert again.ask("GET", "/status")[0] == 503
    await_that(lambda: again.ask("GET", "/startup")[0] == 200, "the node has started")
    assert again.ask("GET", "/status")[0] == 200
