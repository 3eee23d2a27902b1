"""A real federation: node processes on ports of their own, and a client that signs."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from waiting import PATIENCE, await_that

from gates.node.clock import now_ms
from gates.node.identity import Identity
from gates.node.signatures import Message, sign
from gates.target.ports import free_ports

KEY = "key-of-the-tests"
NODE = (sys.executable, "-m", "gates.node")
Route = Callable[[str, str, int], str]


@dataclass
class Node:
    """One node of a federation, running or not."""

    name: str
    port: int
    data: Path
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process; its talk goes to a file beside the data."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "node.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, start_new_session=True)

    def end(self, how: signal.Signals) -> None:
        """Send *how* and wait for the end."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        signer: Identity | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded body and headers of the answer; signed by *signer*, else with the API key."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if signer is None:
            given.setdefault("x-api-key", KEY)
        else:
            where, _, query = path.partition("?")
            given |= sign(signer, Message(method, where, query, given, sent), now=now_ms(), nonce=secrets.token_hex(8))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, sent or None, given)
            answer = connection.getresponse()
            text = answer.read().decode()
            kind = answer.headers.get("Content-Type", "")
            return answer.status, json.loads(text) if kind.startswith("application/json") else text, answer.headers
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        return self.send(method, path, body, **more)[:2]

    def good(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The decoded body of an answer that must be 200."""
        code, answer = self.ask(method, path, body, **more)
        assert code == 200, (self.name, method, path, code, answer)
        return answer

    def ready(self) -> bool:
        """Whether /ready is 200 now."""
        with suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/ready")[0] == 200
        return False

    @property
    def did(self) -> str:
        did: str = self.good("GET", "/info")["did"]
        return did

    def submit(self, key: str, *, signer: Identity | None = None, cost: int = 10, spec: Any = None) -> tuple[int, Any]:
        """Submit a job, an Echo unless told otherwise."""
        body = {"manifest_cid": "bafyjobmanifest", "spec_json": spec or {"kind": {"Echo": {"payload": key}}}, "cost_mana": cost}
        return self.ask("POST", "/mesh/submit", body, signer=signer, headers={"Idempotency-Key": key})

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.good("GET", f"/mesh/jobs/{job}")
        return found

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Every job that the node coordinates."""
        after: int | None = 0
        while after is not None:
            page = self.good("GET", f"/mesh/jobs?after={after}")
            yield from page["jobs"]
            after = page["next"]


@dataclass
class Federation:
    """Some nodes, by name."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def home(self, identity: Identity) -> Node:
        """The node that opens accounts for *identity*: the one that does not send it elsewhere."""
        first = next(iter(self))
        code, answer = first.ask("GET", f"/account/{identity.did}/mana", signer=identity)
        return self[answer["home"]] if code == 421 else first


@contextmanager
def running_federation(
    folder: Path, count: int, *arguments: str, module: Sequence[str] = NODE, route: Route | None = None
) -> Iterator[Federation]:
    """A federation that is ready; whatever of it still runs at the end is killed.

    *route* says the URL under which one node reaches another that listens on a port; directly, unless it is given.
    """
    reach = route or (lambda _source, _target, port: f"http://127.0.0.1:{port}")
    federation = Federation()
    names = [f"node-{letter}" for letter in "abcdefghij"[:count]]
    ports = dict(zip(names, free_ports(count, Random()), strict=True))
    with ExitStack() as stack:
        for name, port in ports.items():
            peers = ",".join(f"{other}={reach(name, other, ports[other])}" for other in ports if other != name)
            options = ["--name", name, "--data", str(folder / name), "--port", str(port), "--peers", peers, "--api-key", KEY]
            node = Node(name, port, folder / name, [*module, *options, *arguments])
            federation.nodes[name] = node
            stack.callback(node.end, signal.SIGKILL)
            node.start()
        for node in federation:
            await_that(node.ready, f"{node.name} is ready")
        yield federation
