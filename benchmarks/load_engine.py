"""What a request costs the load engine: `python benchmarks/load_engine.py [SECONDS]`.

A small server in a process of its own answers at once; three runs at 1,000/s: bare, with a JSON check, with variables and a
history. Prints processor time of the generator's thread a request and its lateness. No assertion: the comparison with other
tools is elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np

from gates.load.engine import run_load
from gates.load.plan import LoadPlan

RATE = 1000.0
SERVER = """
import asyncio
ANSWER = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 27\\r\\n\\r\\n{"ok": true, "id": "job-1"}'
class Server(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "bare": ({"path": "/"}, False),
    "checked": ({"path": "/", "check": {"status": 200, "json": {"ok": True}}}, False),
    "everything": (
        {
            "method": "POST",
            "path": "/",
            "headers": {"Idempotency-Key": "{key}"},
            "body": {"n": "{n}", "id": "{uuid}"},
            "capture": {"id": "id"},
            "check": {"json": {"ok": True, "id": {"matches": "^job-"}}},
        },
        True,
    ),
}


def measured(url: str, step: dict[str, Any], record: bool, seconds: float) -> tuple[float, float, int]:
    """Microseconds of processor time a request, median lateness in microseconds, errors."""
    plan = LoadPlan("", "", RATE, seconds, 0.0, 32, 5.0, {"do": 1}, {"do": {"steps": [step]}})
    outcome = run_load(plan, {"main": url}, seed=1, record=record)
    cost = outcome.health.cpu * outcome.end / len(outcome.intended)
    return cost * 1e6, float(np.median(outcome.lateness)) * 1e6, int((~outcome.right).sum())


def main() -> None:
    """Print a line a case."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            print(f"{'case':<12}{'µs/request':>12}{'lateness µs':>14}{'errors':>8}")  # noqa: T201
            for name, (step, record) in CASES.items():
                cost, late, errors = measured(url, step, record, seconds)
                print(f"{name:<12}{cost:>12.1f}{late:>14.0f}{errors:>8}")  # noqa: T201
        finally:
            server.kill()


if __name__ == "__main__":
    main()
