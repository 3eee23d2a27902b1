"""Links of a target: between any two of its processes that speak to each other, and from clients to its endpoints.

They are made by one process, the switchboard, that has a port for every link. It ends with the target, and with the gate.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gates.model import CLIENTS, Pair, Ready, TargetLayout, Traffic
from gates.target.error import TargetError
from gates.target.ports import LOCALHOST
from gates.target.process import Process
from gates.target.proxy.address import short
from gates.target.readiness import wait_until_ready
from gates.target.template import url_of

PROXY = "proxy"
SWITCHBOARD = "links"
PATIENCE = 5.0
Row = tuple[str, str, str, int, str, int]


def links_of(layout: TargetLayout) -> tuple[Pair, ...]:
    """Who opens connections to whom: clients to every endpoint, and processes to those that they speak to."""
    endpoints = (*(spec.name for spec in layout.processes if not spec.proxy), *layout.urls)
    between = ((spec.name, other) for spec in layout.processes for other in spec.links)
    return (*((CLIENTS, name) for name in endpoints), *between)


class Control:
    """Speaks to a switchboard."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, **command: Any) -> dict[str, Any]:
        """Its answer. Raises TargetError when it refuses, or does not answer."""
        try:
            with short(self.path) as path, socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(path)
                connection.sendall(json.dumps(command).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    answer: dict[str, Any] = json.loads(answers.readline() or b"{}")
        except OSError as error:
            raise TargetError(f"does not answer: {error}", location=SWITCHBOARD) from error
        if "error" in answer:
            raise TargetError(answer["error"], location=SWITCHBOARD)
        return answer


class ProxyLinks:
    """Links that are ports of the switchboard. See `gates.model.Links`."""

    way = PROXY

    def __init__(self, layout: TargetLayout, ports: Mapping[str, int], free: Sequence[int], home: Path, seed: int) -> None:
        self._links = dict(zip(links_of(layout), free, strict=True))
        self.opened: tuple[Pair, ...] = tuple(self._links)
        self.pairs: frozenset[Pair] = frozenset({pair for link in self._links for pair in (link, link[::-1])})
        self._addresses = {**{name: (LOCALHOST, port) for name, port in ports.items()}, **_addresses(layout.urls)}
        self._home, self._seed = home, seed
        self._control = Control(home / f"{SWITCHBOARD}.sock")
        self.process: Process | None = None

    def address(self, name: str) -> tuple[str, int]:
        """Where the process or URL *name* itself listens, as the switchboard reaches it."""
        return self._addresses[name]

    def url(self, source: str, target: str) -> str:
        """The URL under which *source* reaches *target*."""
        return url_of(self._links[source, target])

    @property
    def hosts(self) -> Mapping[str, str]:
        """The address of each process, as the others know it; what is not there is on localhost."""
        return {}

    def own_url(self, name: str, port: int) -> str:
        """The URL of the process *name* itself, as the gate reaches it."""
        return url_of(port)

    def namespace(self, name: str) -> str:
        """The file of the network namespace that *name* is started in; empty for the gate's own."""
        return ""

    def ports_for(self, name: str, ports: Mapping[str, int]) -> dict[str, int]:
        """*ports* by name, as the process *name* is to know them."""
        return {**ports, **{target: port for (source, target), port in self._links.items() if source == name}}

    def rows(self) -> list[Row]:
        """The links as the switchboard is told them."""
        return [(*pair, LOCALHOST, port, *self.address(pair[1])) for pair, port in self._links.items()]

    def command(self) -> tuple[str, ...]:
        """The switchboard's."""
        module = (sys.executable, "-m", "gates.target.proxy.switchboard")
        return (*module, str(self._control.path), json.dumps(self.rows()), str(self._seed))

    def start(self, spawner: ThreadPoolExecutor) -> None:
        """Start the switchboard and wait until it is there."""
        self._control.path.unlink(missing_ok=True)
        log = self._home / f"{SWITCHBOARD}.log"
        self.process = Process(SWITCHBOARD, self.command(), {}, log=log, spawner=spawner)
        self.process.start()
        url = url_of(self.rows()[-1][3])
        wait_until_ready(self.process, Ready(tcp=True, within=15.0), url)
        while not self._control.path.exists():  # the last that it does before it serves
            wait_until_ready(self.process, Ready(tcp=True), url)

    def stop(self, patience: float) -> None:
        """End the switchboard."""
        if self.process is not None:
            self.process.stop(patience)
            self._control.path.unlink(missing_ok=True)

    # --- gates.model.Links ---

    def shape(self, traffic: Mapping[Pair, Traffic]) -> None:
        self._check(traffic)
        self._control.ask(do="shape", traffic=[[*pair, asdict(how)] for pair, how in traffic.items()])

    def restore(self, pairs: Collection[Pair]) -> None:
        self.shape(dict.fromkeys(pairs, Traffic()))

    def disturb(self, pairs: Collection[Pair], how: str) -> None:
        self._check(pairs)
        opened = [pair for pair in pairs if pair in self._links]
        self._control.ask(do="disturb", pairs=opened, how=how)

    def dropped(self, pairs: Collection[Pair]) -> int | None:
        return None

    def connect(self, source: str, target: str, patience: float) -> socket.socket:
        self._check([(source, target)])
        return socket.create_connection((LOCALHOST, self._links[source, target]), patience)

    def listens(self, name: str, patience: float) -> bool:
        """Whether *name* itself takes connections, its links apart."""
        try:
            socket.create_connection(self.address(name), patience).close()
        except OSError:
            return False
        return True

    def opens(self, source: str, target: str) -> bool:
        """Whether there is a link on which *source* opens connections to *target*."""
        return (source, target) in self._links

    def _check(self, pairs: Collection[Pair]) -> None:
        unknown = sorted(pair for pair in pairs if pair not in self.pairs)
        if unknown:
            there = ", ".join(f"{source} to {target}" for source, target in self._links)
            raise TargetError(f"there is no link between {unknown[0][0]} and {unknown[0][1]}; there is {there}")


def _addresses(urls: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    found = {}
    for name, url in urls.items():
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise TargetError(f"links lead to http endpoints only (got {url})", location=name)
        found[name] = (parts.hostname or "", parts.port or 80)
    return found
