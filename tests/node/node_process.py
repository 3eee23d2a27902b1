"""A real node as a process, on a port that the kernel chose."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waiting import Bound

NODE = (sys.executable, "-m", "gates.node")
KEY = "key-of-the-tests"
ECHO = {"manifest_cid": "bafyjobmanifest", "spec_json": {"kind": {"Echo": {"payload": "hello"}}}, "cost_mana": 10}


@dataclass
class RunningNode:
    """A node process and a way to speak to it."""

    process: subprocess.Popen[str]
    port: int
    data: Path
    name: str
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    @property
    def did(self) -> str:
        did: str = self.ask("GET", "/info")[1]["did"]
        return did

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """One request; status and decoded body. *body* is sent as JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, sent, {"X-API-Key": KEY, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text
        finally:
            connection.close()

    def headers(self, method: str, path: str, body: Any = None) -> Mapping[str, str]:
        """The headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            connection.request(method, path, json.dumps(body).encode(), {"X-API-Key": KEY})
            answer = connection.getresponse()
            answer.read()
            return answer.headers

    def answers(self, path: str) -> bool:
        """Whether GET *path* is answered with 200 now."""
        with suppress(ConnectionError):
            return self.ask("GET", path)[0] == 200
        return False

    def metric(self, name: str) -> float:
        """The sample *name*, with its labels as they are written."""
        lines = [line for line in self.ask("GET", "/metrics")[1].splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def submit(self, key: str | None = None, **changes: Any) -> tuple[int, Any]:
        """Submit an Echo job, with some fields *changes*d."""
        return self.ask("POST", "/mesh/submit", {**ECHO, **changes}, {"Idempotency-Key": key} if key else {})

    def balance(self) -> int:
        balance: int = self.ask("GET", "/account/me/mana")[1]["balance"]
        return balance

    def burned(self) -> int:
        """Mana that was paid for what is over."""
        burned: int = self.ask("GET", "/account/me/mana")[1]["burned"]
        return burned

    def finished(self) -> list[Any]:
        """All jobs, once every one of them has ended."""
        final, in_time = {"Completed", "Failed", "Cancelled"}, Bound("every job has ended")
        while in_time():
            found = self.jobs()
            if {job["status"] for job in found} <= final:
                break
        return found

    def jobs(self) -> list[Any]:
        """Every job that the node coordinates, page by page."""
        jobs: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", f"/mesh/jobs?after={after}")[1]
            jobs += page["jobs"]
            after = page["next"]
        return jobs


Start = Callable[..., RunningNode]


@contextmanager
def running_node(
    data: Path, *arguments: str, name: str = "node-a", command: Sequence[str] = NODE, wait: bool = True
) -> Iterator[RunningNode]:
    """A node on a free port; killed at the end when it still runs. It has started, unless nobody is to *wait* for that."""
    options = ["--name", name, "--data", str(data), "--api-key", KEY, *arguments]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://127.0.0.1:(\d+)", line)
            assert found, line + process.stderr.read()
            node = RunningNode(process, int(found[1]), data, name)
            if wait:
                await_started(node)
            yield node
        finally:
            # a tracer that is killed leaves what it traced behind, so the whole group goes
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def await_started(node: RunningNode) -> None:
    """Wait until the node serves; it printed its address just before."""
    in_time = Bound(f"{node.name} serves")
    while in_time() and node.process.poll() is None:
        with suppress(ConnectionError):
            if node.ask("GET", "/startup")[0] == 200:
                return
    raise AssertionError("the node ended before it served")
