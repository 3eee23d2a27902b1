"""The metrics of real nodes: many families, and none that stays at nothing while a federation works, fails and recovers."""

from __future__ import annotations

import base64
import re
import secrets
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from node_process import ECHO
from prometheus_client.parser import text_string_to_metric_families
from waiting import await_that

from gates.node.identity import Identity

pytestmark = pytest.mark.end_to_end
FEWEST = 80
FIXED = {"process_start_time_seconds", "process_max_fds", "icn_startup_duration_seconds"}
"""What is said once in the life of a process."""
FINAL = {"Completed", "Failed", "Cancelled"}
WAITS = re.compile(r'^icn_outbox_depth{fate="waiting"} [1-9]', re.MULTILINE)
REFUSED = re.compile(r"^icn_read_only_refusals_total [1-9]", re.MULTILINE)
TOKENS = re.compile(r'^recovery_budget_tokens{budget="node"} (\S+)', re.MULTILINE)
SETTINGS = "client_rate: 300\nclient_burst: 300\nmax_in_flight: 16\npreset: testing\n"


class Watch:
    """What was ever seen of each family, over all nodes."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.seen: dict[str, set[tuple[Any, ...]]] = {}
        self.gauges: set[str] = set()

    def look(self) -> None:
        """Scrape every node that answers."""
        for node in self.federation:
            with suppress(OSError):
                self.told(node)

    def told(self, node: Node) -> str:
        """What *node* tells now, which counts as seen."""
        text: str = node.good("GET", "/metrics")
        for family in text_string_to_metric_families(text):
            values = {(node.name, each.name, *sorted(each.labels.items()), each.value) for each in family.samples}
            self.seen.setdefault(family.name, set()).update(values)
            self.gauges |= {family.name} if family.type == "gauge" else set()
        return text

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Scrape again and again while the block runs, for what is only there for a moment."""
        over = threading.Event()

        def look_on() -> None:
            while not over.is_set():
                with suppress(AssertionError):
                    self.look()

        looker = threading.Thread(target=look_on)
        looker.start()
        try:
            yield
        finally:
            over.set()
            looker.join()

    def still(self) -> set[str]:
        """The families of which nothing but 0 was ever seen, and the gauges that always stood where they were first seen."""
        dead = {name for name, seen in self.seen.items() if not any(each[-1] for each in seen)}
        return dead | {name for name in self.gauges - FIXED if _samples(self.seen[name]) == len(self.seen[name])}


def _samples(seen: set[tuple[Any, ...]]) -> int:
    """How many samples the values in *seen* are of."""
    return len({each[:-1] for each in seen})


def test_every_family_moves_and_there_are_many(tmp_path: Path) -> None:
    """A workload over all parts, with overload, locked databases, and a node that hangs and dies, leaves none at nothing."""
    settings = tmp_path / "node.yaml"
    settings.write_text(SETTINGS)
    with running_federation(tmp_path, 3, "--config", str(settings)) as federation:
        watch = Watch(federation)
        with watch.looking():
            for node in federation:
                work(node)
                keep_blocks(node)
            govern(federation)
            open_account(federation)
            overload(next(iter(federation)))
            hold(next(iter(federation)), watch)
            hang_and_die(federation)
            leave(federation)
            with suppress(AssertionError):
                await_that(lambda: not watch.still(), "every family has moved", limit=5)
        assert watch.still() == set()
        ours = {name for name in watch.seen if name.startswith(("icn_", "recovery_"))}
        assert len(ours) >= FEWEST, sorted(ours)


def work(node: Node) -> None:
    """Jobs that end in every way, and requests that are refused."""
    cpu = {"kind": {"Cpu": {"iterations": 100_000, "seed": 1}}}
    jobs = [node.submit(f"e{number}")[1]["job_id"] for number in range(10)]
    jobs += [node.submit(f"c{number}", spec=cpu, cost=100)[1]["job_id"] for number in range(3)]
    jobs.append(node.submit("dear", spec=cpu, cost=1)[1]["job_id"])
    long = {"kind": {"Cpu": {"iterations": 10_000_000, "seed": 1}}}
    stopped = node.submit("long", spec=long, cost=200)[1]["job_id"]
    await_that(lambda: node.job(stopped)["status"] == "Executing", "the long job is under way")
    assert node.ask("POST", f"/mesh/jobs/{stopped}/cancel")[0] == 200
    assert node.ask("POST", f"/mesh/jobs/{stopped}/cancel")[0] in (200, 409)
    await_that(lambda: all(node.job(job)["status"] in FINAL for job in jobs), "all jobs end")
    assert node.submit("e0", cost=11)[0] == 409
    assert node.submit("wrong", cost=-1)[0] == 422
    assert node.ask("GET", "/mesh/jobs/nothing")[0] == 404
    assert node.ask("POST", "/mesh/receipts", {})[0] == 422
    assert node.ask("GET", "/status", headers={"X-API-Key": "not-the-one"})[0] == 401
    assert node.ask("GET", "/account/me/mana")[0] == 200
    assert len(list(node.jobs())) >= 15
    node.good("GET", "/ledger/audit")
    node.good("POST", "/context/breakers/reset", {})


def keep_blocks(node: Node) -> None:
    """Blocks that are put, read, pinned, and refused."""
    data = base64.b64encode(secrets.token_bytes(100)).decode()
    cid = node.good("POST", "/dag/put", {"data": data})
    for path in ("/dag/get", "/dag/meta", "/dag/pin", "/dag/unpin"):
        node.good("POST", path, {"cid": cid})
    assert node.ask("POST", "/dag/get", {"cid": cid.upper()})[0] == 400
    assert node.ask("POST", "/dag/put", {"data": data, "codec": "dag-cbor"})[0] == 422


def govern(federation: Federation) -> None:
    """A proposal from its submission to its effect, and one that is refused."""
    home = next(iter(federation))
    asked = {"type": "BudgetAllocation", "data": {"did": home.did, "amount": 5}}
    body = {"proposal": asked, "description": "some mana", "duration_secs": 60}
    proposal = home.good("POST", "/governance/submit", body)
    for node in federation:
        for _ in range(2):
            node.good("POST", "/governance/vote", {"proposal_id": proposal, "vote_option": "Yes"})
    home.good("POST", "/governance/close", {"proposal_id": proposal})
    home.good("POST", "/governance/execute", {"proposal_id": proposal})
    assert home.ask("POST", "/governance/submit", {})[0] == 422
    assert home.ask("GET", "/governance/proposals")[0] == 200


def open_account(federation: Federation) -> None:
    """A client with a key of its own, at its home and elsewhere."""
    client = Identity.from_seed(secrets.token_bytes(32))
    home = federation.home(client)
    assert home.ask("POST", "/account/open", {}, signer=client)[0] == 200
    assert home.submit("mine", signer=client)[0] == 200
    other = next(node for node in federation if node is not home)
    assert other.ask("POST", "/account/open", {}, signer=client)[0] == 421
    assert home.submit("much", cost=1000, signer=client)[0] in (200, 402)
    assert home.submit("more", cost=1000, signer=client)[0] == 402


def overload(node: Node) -> None:
    """More requests than a client may send, more at once than the node takes, and one without time."""

    def ask(key: str) -> int:
        return node.ask("GET", "/mesh/jobs", headers={"X-API-Key": key})[0]

    def submit(_: int) -> int:
        return node.ask("POST", "/mesh/submit", {**ECHO, "cost_mana": 1}, headers={"Priority": "u=7"})[0]

    with ThreadPoolExecutor(48) as many:
        await_that(lambda: 429 in many.map(ask, ["made-up-key"] * 400), "a client that asks too often is told so")
        await_that(lambda: 503 in many.map(submit, range(96)), "what is least important is shed")
    in_no_time = {"X-Request-Deadline-Ms": "1"}
    await_that(lambda: node.ask("POST", "/mesh/submit", ECHO, headers=in_no_time)[0] == 504, "a request is late")


def hold(node: Node, watch: Watch) -> None:
    """Both databases are held by another process for a moment; what is only told meanwhile is seen."""
    for database in ("ledger.db", "dag.db"):
        with closing(sqlite3.connect(node.data / database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            if database == "ledger.db":
                full = tokens(node, watch)
                await_that(lambda full=full: tokens_after_retries(node, watch) != full, "retries are paid for")  # type: ignore[misc]
            if database == "dag.db":
                await_that(lambda: node.submit("held")[0] == 200, "jobs are taken while blocks can't be written")
                await_that(lambda: WAITS.search(watch.told(node)) is not None, "their receipts wait")
            mode = "read_only" if database == "ledger.db" else "receipts_wait"
            await_that(lambda mode=mode: f'icn_degraded{{mode="{mode}"}} 1' in watch.told(node), mode)  # type: ignore[misc]
            if database == "ledger.db":
                await_that(lambda: refused_to_write(node, watch), "writes are refused without a try")
                assert not node.ready()
                await_that(lambda: "icn_ready 0" in watch.told(node), "the metrics say that it is not ready")
            other.execute("ROLLBACK")
        await_that(node.ready, f"{database} is free again")


def tokens(node: Node, watch: Watch) -> float:
    """The retries that *node* has left, as it tells."""
    found = TOKENS.search(watch.told(node))
    assert found is not None
    return float(found[1])


def tokens_after_retries(node: Node, watch: Watch) -> float:
    """What is left when a job was refused behind breakers that were closed: an open one fails without a retry to pay for."""
    node.good("POST", "/context/breakers/reset", {})
    assert node.submit("tried-again-and-again")[0] == 503
    return tokens(node, watch)


def refused_to_write(node: Node, watch: Watch) -> bool:
    """Whether a job is refused, and the node counts that as a write that it did not try."""
    assert node.submit("refused")[0] == 503
    return REFUSED.search(watch.told(node)) is not None


def hang_and_die(federation: Federation) -> None:
    """One node hangs, then dies, while the others go on."""
    node, _, failing = federation
    assert failing.process is not None
    failing.process.send_signal(signal.SIGSTOP)
    jobs = [node.submit(f"hanging{number}")[1]["job_id"] for number in range(20)]
    await_that(lambda: all(node.job(job)["status"] in FINAL for job in jobs), "jobs end beside a node that hangs")
    failing.end(signal.SIGKILL)
    failing.start()
    await_that(failing.ready, "the node is back")


def leave(federation: Federation) -> None:
    """One node leaves the others."""
    first, _, last = federation
    last.good("POST", "/federation/leave", {"peer": "node-c"})
    await_that(lambda: "icn_federation_members 2.0" in first.good("GET", "/metrics"), "the others know that it has left")
