"""What the reference node carries, against its targets; what `./noxw -s node_capacity` does. Asserts nothing.

The ceilings are taken in rounds, an empty starlette handler and the node's requests one after another, the server on one core
and the client on the other; a ratio is taken within its round. `node_capacity PART...` runs parts alone.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from closed_loop import ceiling, get, post, send_all

from gates.target.ports import free_ports

KEY = "capacity-key"
HEADERS = f"X-API-Key: {KEY}\r\n"
LIMIT = 120.0
EMPTY = """
import asyncio, socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

async def empty(request):
    return Response(b"{}", media_type="application/json")

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
config = uvicorn.Config(Starlette(routes=[Route("/", empty)]), loop="uvloop", http="httptools", ws="none", access_log=False,
                        log_level="warning", server_header=False, date_header=False)
uvicorn.Server(config).run([listener])
"""
ONE_SYNC_A_REQUEST = """
import sys
from gates.node import storage
storage.LARGEST_BATCH = 1
from gates.node.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Server:
    """A server process that this run started."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer; None when there is none or no good one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = None if body is None else json.dumps(body).encode()
            connection.request(method, path, sent, {"X-API-Key": KEY})
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text) if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def rss(self) -> int:
        """Resident bytes of the process."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def end(self) -> None:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def main() -> None:
    """Run the named parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which to run (all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the ceilings (5)")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs of the growth and restart (100,000)")
    parser.add_argument("--blocks", type=int, default=10_000, help="blocks of the anti-entropy (10,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of the federation's load (60)")
    options = parser.parse_args()
    print(f"{'what':66} {'figure':>12} {'from':>10} {'to':>10} {'target':>12}")
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), options)


def show(what: str, values: list[float], target: str, form: str = "{:,.2f}") -> None:
    """A line of the table."""
    figures = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    print(f"{what:66} {figures[0]:>12} {figures[1]:>10} {figures[2]:>10} {target:>12}", flush=True)


# --- ceilings ---------------------------------------------------------------------------------------------------------


def ceilings(folder: Path, options: argparse.Namespace) -> None:
    """Status reads and durable submissions of one node on one core, in proportion to an empty handler."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows: dict[str, list[float]] = {"empty": [], "status": [], "submit": [], "single": []}
    try:
        for number in range(options.rounds):
            for what, measured in (("empty", _empty), ("status", _status), ("submit", _submit), ("single", _single)):
                rows[what].append(measured(folder / f"{what}-{number}"))
    finally:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for what in rows:
        show(f"requests a second: {what}", rows[what], "", "{:,.0f}")
    show("status read / empty handler", _ratios(rows, "status", "empty"), ">= 0.70")
    show("durable submission / empty handler", _ratios(rows, "submit", "empty"), ">= 0.15")
    show("durable submission / one sync a request", _ratios(rows, "submit", "single"), ">= 3.00")


def _ratios(rows: dict[str, list[float]], one: str, other: str) -> list[float]:
    return [a / b for a, b in zip(rows[one], rows[other], strict=True)]


def _empty(_folder: Path) -> float:
    with running([sys.executable, "-c", EMPTY], core=True) as server:
        return ceiling(server.port, itertools.repeat(get("/")), seconds=3.0)


def _status(folder: Path) -> float:
    with node(folder, core=True) as server:
        return ceiling(server.port, itertools.repeat(get("/status", HEADERS)), seconds=3.0)


def _submit(folder: Path, command: tuple[str, ...] = ("-m", "gates.node")) -> float:
    with node(folder, core=True, command=command) as server:
        return ceiling(server.port, submissions(), seconds=5.0)


def _single(folder: Path) -> float:
    return _submit(folder, ("-c", ONE_SYNC_A_REQUEST))


def submissions(prefix: str = "") -> Iterator[bytes]:
    """Submissions of Echo jobs, each under a key of its own."""
    for number in itertools.count():
        payload = {"kind": {"Echo": {"payload": f"job {number}"}}}
        body = json.dumps({"manifest_cid": "bafyjobmanifest", "spec_json": payload, "cost_mana": 10}).encode()
        yield post("/mesh/submit", body, f"{HEADERS}Idempotency-Key: {prefix}{number}\r\n")


# --- a federation under load ------------------------------------------------------------------------------------------


def federation(folder: Path, options: argparse.Namespace) -> None:
    """100 jobs a second for a minute into three nodes; when the last receipt is anchored everywhere, and what was lost."""
    from gates.load.engine import run_load
    from gates.load.plan import LoadPlan
    from gates.node.flows import FLOWS

    flow = json.loads(json.dumps(FLOWS["submit_job"]))
    for step in flow["steps"]:
        step["headers"] = {**step.get("headers", {}), "X-API-Key": KEY}
    with nodes(folder, 3) as servers:
        plan = LoadPlan("", "", 100.0, options.seconds, 0.0, 48, 5.0, {"submit_job": 1}, {"submit_job": flow})
        urls = {name: f"http://127.0.0.1:{server.port}" for name, server in servers.items()}
        outcome = run_load(plan, urls, seed=1)
        ended = time.monotonic()
        wanted = int(outcome.right.sum())
        anchored = wait(lambda: _anchored(servers), lambda found: found == {wanted}, LIMIT)
        spent = time.monotonic() - ended
        print(
            f"{wanted:,} of {plan.arrivals:,} jobs acknowledged at 100/s for {plan.seconds:.0f} s; anchored: {sorted(anchored)}"
        )
        jobs = [job for server in servers.values() for job in pages(server)]
        lost = wanted - sum(job["status"] == "Completed" and bool(job["receipt_cid"]) for job in jobs)
        show("jobs lost of those acknowledged", [lost], "0", "{:,.0f}")
        show("seconds until every receipt is on every node", [spent], "", "{:,.2f}")
        waits = sorted((job["history"][-1][1] - job["history"][0][1]) / 1000 for job in jobs)
        show("seconds from submission to completion, median", [statistics.median(waits)], "", "{:,.3f}")
        show("seconds from submission to completion, p99", [waits[int(len(waits) * 0.99)]], "", "{:,.3f}")


def _anchored(servers: dict[str, Server]) -> set[int]:
    """How many blocks each node has."""
    return {(server.ask("GET", "/dag/root") or {"blocks": -1})["blocks"] for server in servers.values()}


def pages(server: Server) -> Iterator[dict[str, Any]]:
    """Every job of a node."""
    after: int | None = 0
    while after is not None:
        page = server.ask("GET", f"/mesh/jobs?after={after}")
        yield from page["jobs"]
        after = page["next"]


# --- growth, restart, anti-entropy ------------------------------------------------------------------------------------


def growth(folder: Path, options: argparse.Namespace) -> None:
    """Memory over many jobs, and the restart with all of them stored."""
    with node(folder, "--mana", "1000000000") as server:
        first = options.jobs // 20
        send_all(server.port, submissions("warm"), count=first)
        wait(lambda: blocks(server), lambda found: found >= first, LIMIT)
        before = server.rss()
        send_all(server.port, submissions(), count=options.jobs)
        wait(lambda: blocks(server), lambda found: found >= first + options.jobs, 10 * LIMIT)
        show(f"MiB of growth over {options.jobs:,} jobs", [(server.rss() - before) / 2**20], "<= 64", "{:,.1f}")
        server.end()
    started = time.monotonic()
    with node(folder, "--mana", "1000000000") as server:
        wait(lambda: server.ask("GET", "/ready"), lambda answer: answer is not None, LIMIT)
        show(f"seconds to restart with {first + options.jobs:,} jobs", [time.monotonic() - started], "<= 2.00")
        server.end()


def blocks(server: Server) -> int:
    """How many blocks a node has."""
    return int((server.ask("GET", "/dag/root") or {"blocks": -1})["blocks"])


def entropy(folder: Path, options: argparse.Namespace) -> None:
    """Blocks that one node has and another lacks: how long until both have the same root."""
    ports = free_ports(2, random.Random())
    names = ("node-a", "node-b")
    peers = {
        name: f"{other}=http://127.0.0.1:{port}" for name, other, port in zip(names, names[::-1], ports[::-1], strict=True)
    }
    with ExitStack() as stack:
        one = stack.enter_context(node(folder / "a", "--peers", peers["node-a"], "--port", str(ports[0]), name="node-a"))
        puts = (
            post("/dag/put", json.dumps({"data": base64.b64encode(random.randbytes(200)).decode()}).encode(), HEADERS)
            for _ in itertools.count()
        )
        send_all(one.port, puts, count=options.blocks)
        two = stack.enter_context(node(folder / "b", "--peers", peers["node-b"], "--port", str(ports[1]), name="node-b"))
        wait(lambda: two.ask("GET", "/ready"), lambda answer: answer is not None, LIMIT)
        started = time.monotonic()
        before = blocks(two)
        wait(
            lambda: (one.ask("GET", "/dag/root"), two.ask("GET", "/dag/root")),
            lambda pair: pair[0] == pair[1] is not None,
            LIMIT,
        )
        print(f"node-b had {before:,} of {options.blocks:,} blocks when it was ready")
        show(f"seconds until {options.blocks:,} missing blocks are there", [time.monotonic() - started], "<= 10.00")


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "ceilings": ceilings,
    "federation": federation,
    "growth": growth,
    "entropy": entropy,
}

# --- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def node(
    folder: Path, *arguments: str, name: str = "node-a", core: bool = False, command: tuple[str, ...] = ("-m", "gates.node")
) -> Iterator[Server]:
    """One node on *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--name", name, "--data", str(folder / "data"), "--api-key", KEY, "--client-rate", "1000000", *arguments]
    if "--mana" not in arguments:
        options += ["--mana", "100000000"]
    with running([sys.executable, *command, *options], core=core) as server:
        yield server


@contextmanager
def nodes(folder: Path, count: int) -> Iterator[dict[str, Server]]:
    """A federation that is ready."""
    names = [f"node-{number}" for number in range(count)]
    ports = dict(zip(names, free_ports(count, random.Random()), strict=True))
    with ExitStack() as stack:
        servers = {}
        for name, port in ports.items():
            peers = ",".join(f"{other}=http://127.0.0.1:{ports[other]}" for other in ports if other != name)
            servers[name] = stack.enter_context(node(folder / name, "--peers", peers, "--port", str(port), name=name))
        for server in servers.values():
            wait(lambda server=server: server.ask("GET", "/ready"), lambda answer: answer is not None, LIMIT)
        yield servers


@contextmanager
def running(command: list[str], *, core: bool) -> Iterator[Server]:
    """A server that prints its address, on the first core alone when *core*; ended at the end."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        if core:
            os.sched_setaffinity(process.pid, {0})
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://127.0.0.1:(\d+)", line)
            if not found:
                raise SystemExit(f"{' '.join(command)}: {line}{process.stderr.read()}")
            server = Server(process, int(found[1]))
            wait(lambda: _listening(server.port), bool, LIMIT)
            yield server
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(look: Callable[[], Any], good: Callable[[Any], bool], limit: float) -> Any:
    """What *look* gives once it is *good*; what it gave last when that takes longer than *limit* seconds."""
    end = time.monotonic() + limit
    while not good(seen := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return seen


if __name__ == "__main__":
    main()
