"""What a request through our proxy of links costs, beside haproxy in TCP mode: processor time, not wall-clock time.

Both stand before the same server and are loaded alike, in turns, so that whatever else the machine does strikes both. The proxy
has a core of its own, where there are two; who asks and who answers share another. The least of the passes of each counts, and
the bar is at 1.2 times haproxy. Without haproxy there is only our own figure, and no verdict.

    python benchmarks/proxy_cost.py [--passes 5] [--seconds 1.0] [--loop uvloop] [--out FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from gates.target.ports import LOCALHOST, free_ports

BAR = 1.2
CONNECTIONS = 16
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
HAPROXY = """
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen link
  bind 127.0.0.1:{port}
  server main 127.0.0.1:{server}
"""


class Server(asyncio.Protocol):
    """Answers every request with the same few bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


class Client(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self) -> None:
        self.answers = 0
        self._got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        if self._got >= len(ANSWER):
            self._got -= len(ANSWER)
            self.answers += 1
            self.transport.write(REQUEST)


def serve(port: int) -> None:
    """The server, until it is ended."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Server, LOCALHOST, port, backlog=256)
        await server.serve_forever()

    _run(forever())


def load(port: int, seconds: float) -> int:
    """How many requests were answered through *port* in *seconds*."""

    async def ask() -> int:
        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(Client, LOCALHOST, port))[1] for _ in range(CONNECTIONS)]
        await asyncio.sleep(seconds)
        for client in clients:
            client.transport.abort()
        return sum(client.answers for client in clients)

    return int(_run(ask()))


def _run(coroutine: object) -> int:
    from gates.target.proxy.switchboard import runner

    return runner("uvloop")(coroutine)  # type: ignore[no-any-return]


def processor(pid: int) -> float:
    """Seconds of processor time that the process *pid* has used, in all of its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def started(command: list[str], port: int) -> Iterator[int]:
    """The process id of *command*, once something listens on *port*."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _await(port)
            yield process.pid
        finally:
            process.terminate()


def _await(port: int) -> None:
    import socket

    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((LOCALHOST, port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def measure(port: int, pid: int, seconds: float) -> tuple[float, float]:
    """Microseconds of processor time a request, and requests a second."""
    before = processor(pid)
    answered = load(port, seconds)
    return (processor(pid) - before) / max(1, answered) * 1e6, answered / seconds


def contestants(folder: Path, server: int, loop: str) -> dict[str, tuple[list[str], int]]:
    """The command and the port of each; haproxy only where it is installed."""
    own, other = free_ports(2, Random())
    rows = [["clients", "main", LOCALHOST, own, LOCALHOST, server]]
    command = [sys.executable, "-m", "gates.target.proxy.switchboard", str(folder / "links.sock"), json.dumps(rows), "1", loop]
    found = {"ours": (command, own)}
    if shutil.which("haproxy"):
        configuration = folder / "haproxy.cfg"
        configuration.write_text(HAPROXY.format(port=other, server=server))
        found["haproxy"] = ([shutil.which("haproxy") or "", "-f", str(configuration), "-db"], other)
    return found


def main() -> int:
    """Measure, print a table, and say whether the bar was met: 0, 1, or 2 where haproxy is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--loop", default="uvloop", choices=("uvloop", "asyncio"))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (server,) = free_ports(1, Random())
        backend = multiprocessing.get_context("spawn").Process(target=serve, args=(server,), daemon=True)
        backend.start()
        stack.callback(backend.terminate)
        _await(server)
        there = {
            name: (stack.enter_context(started(command, port)), port)
            for name, (command, port) in contestants(folder, server, asked.loop).items()
        }
        for pid, _ in there.values():
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores[:1])
        for number in range(asked.passes + 1):
            for name, (pid, port) in there.items():
                result = measure(port, pid, asked.seconds)
                if number:  # the first pass warms up
                    found.setdefault(name, []).append(result)
    return _told(found, asked.out)


def _told(found: dict[str, list[tuple[float, float]]], out: Path | None) -> int:
    least = {name: min(cost for cost, _ in passes) for name, passes in found.items()}
    for name, passes in found.items():
        costs = [cost for cost, _ in passes]
        rate = statistics.median(rate for _, rate in passes)
        print(f"{name:8} {least[name]:6.1f} µs a request (median {statistics.median(costs):.1f}), {rate:,.0f} requests/s")
    ratio = least["ours"] / least["haproxy"] if "haproxy" in least else None
    if out is not None:
        out.write_text(json.dumps({"bar": BAR, "ratio": ratio, "passes": found}, indent=2) + "\n")
    if ratio is None:
        print("haproxy is not installed: apt-get install haproxy")
        return 2
    print(f"ratio    {ratio:6.2f}, the bar is at {BAR}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
