"""How many arrivals a second flows in Python can have: `python benchmarks/python_flows.py [SECONDS]`.

A small server in a process of its own answers at once; a flow of one request over httpx is run at rising rates, and beside it
the same request as a step. Prints the generator's processor time an arrival, how busy its core was, and how late it was. The
two processes have a core each, where there are two.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import httpx
import numpy as np
from load_engine import SERVER

from gates import registry
from gates.load.arrival import Arrival
from gates.load.engine import run_load
from gates.load.plan import LoadPlan

RATES = (100, 200, 300, 400, 500, 600, 700, 800, 1000)
HEAD = "flow      rate/s  µs/arrival    busy late p50 ms      p99 ms latency p99  errors   steal"
FLOWS = {"python": {"python": "bench"}, "steps": {"steps": [{"path": "/", "check": {"json": {"ok": True}}}]}}


async def bench(client: httpx.AsyncClient, arrival: Arrival) -> None:
    """Asks once."""
    assert (await client.get("/")).json()["ok"]


def row(url: str, name: str, rate: float, seconds: float) -> str:
    """One line of the table."""
    plan = LoadPlan("", "", rate, seconds, 0.0, 50, 5.0, {name: 1}, {name: FLOWS[name]})
    outcome = run_load(plan, {"main": url}, seed=1)
    cost = outcome.health.cpu * outcome.end / outcome.due * 1e6
    late, far, slow = (
        np.quantile(times, q) * 1e3 for times, q in ((outcome.lateness, 0.5), (outcome.lateness, 0.99), (outcome.latency, 0.99))
    )
    errors, steal = int((~outcome.right).sum()), outcome.health.steal or 0.0
    text = f"{name:<8}{rate:>8g}{cost:>12.0f}{outcome.health.cpu:>8.0%}{late:>12.2f}{far:>12.2f}"
    return f"{text}{slow:>12.1f}{errors:>8}{steal:>8.1%}"


def apart(server: int) -> None:
    """The server on one core, we on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(server, cores[:1])
        os.sched_setaffinity(0, cores[1:2])


def main() -> None:
    """Print a line a rate."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    given: dict[str, Any] = {"bench": bench}
    registry.plugins = lambda group: given if group == registry.FLOWS else {}  # type: ignore[assignment]
    print(HEAD)
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            apart(server.pid)
            for rate in RATES:
                print(row(url, "python", rate, seconds), flush=True)
            print(row(url, "steps", 500, seconds), flush=True)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
