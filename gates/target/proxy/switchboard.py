"""All links of a target in one process, and the socket by which a gate controls them.

`python -m gates.target.proxy.switchboard SOCKET LINKS SEED [LOOP [NAMESPACES]]`: LINKS is JSON, a list of
`[source, target, host, port, upstream host, upstream port]`; LOOP is `uvloop` (where it is installed) or `asyncio`. It serves
until SIGTERM. A command is a line of JSON on the Unix socket, and so is the answer: `{}`, or `{"error": ...}`.
With NAMESPACES, JSON that maps names to addresses, it makes a network namespace for each, and goes on from one that is joined
to all of them; its ports stay where it was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from gates.model import Pair, Traffic
from gates.target.network import Network
from gates.target.proxy.address import short
from gates.target.proxy.flow import Line
from gates.target.proxy.link import DISTURBANCES, Link

Row = Sequence[Any]


class Switchboard:
    """Links by who speaks to whom; both directions of a pair of ends are lines that links share."""

    def __init__(self, seed: str) -> None:
        self.links: dict[Pair, Link] = {}
        self._lines: dict[Pair, Line] = {}
        self._seed = seed
        self.namespaces: dict[str, str] = {}

    def _line(self, pair: Pair) -> Line:
        if pair not in self._lines:
            self._lines[pair] = Line(Random(f"{self._seed}:{pair[0]}:{pair[1]}"))
        return self._lines[pair]

    async def add(self, row: Row) -> None:
        """Listen for the link of *row*."""
        source, target, host, port, upstream, upstream_port = row
        link = Link(upstream, upstream_port, self._line((source, target)), self._line((target, source)))
        self.links[source, target] = link
        await link.listen(host, port)

    def shape(self, traffic: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Each pair's line carries its traffic like that from now on."""
        asked = {self._known((source, target)): Traffic(**settings) for source, target, settings in traffic}
        for pair, how in asked.items():
            self._lines[pair].shape(how)
        for link in self.links.values():
            link.shaped()

    def disturb(self, pairs: Sequence[Sequence[str]], how: str) -> None:
        """See `gates.model.Links.disturb`."""
        if how not in DISTURBANCES:
            raise ValueError(f"unknown disturbance {how!r}")
        for source, target in pairs:
            if (source, target) not in self.links:
                raise ValueError(f"there is no link from {source} to {target}")
            self.links[source, target].disturb(how)

    def state(self) -> list[list[Any]]:
        """Of each link: source, target, connections accepted and open, bytes carried there and back, bytes waiting."""
        return [
            [*pair, link.accepted, len(link.connections), link.there.carried, link.back.carried, link.waiting]
            for pair, link in self.links.items()
        ]

    def _known(self, pair: Pair) -> Pair:
        if pair not in self._lines:
            raise ValueError(f"there is no line from {pair[0]} to {pair[1]}")
        return pair

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what *line* says."""
        try:
            command = json.loads(line)
            match command["do"]:
                case "shape":
                    self.shape(command["traffic"])
                case "disturb":
                    self.disturb(command["pairs"], command["how"])
                case "state":
                    return {"state": self.state()}
                case "namespaces":
                    return {"namespaces": self.namespaces}
                case unknown:
                    raise ValueError(f"unknown command {unknown!r}")
        except (ValueError, TypeError, KeyError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of one who controls."""
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError):
            while line := await reader.readline():
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        writer.close()


async def serve(control: Path, rows: Sequence[Row], seed: str, namespaces: Mapping[str, str]) -> None:
    """Carry the links of *rows* until SIGTERM."""
    board, ended = Switchboard(seed), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.set_exception_handler(lambda _, context: _tell(context))
    for row in rows:
        await board.add(row)
    if namespaces:
        board.namespaces = Network(namespaces).paths()  # after the ports, which stay outside
    with short(control) as path:
        server = await asyncio.start_unix_server(board.converse, path)
    gc.freeze()
    async with server:
        await ended.wait()
        for link in board.links.values():
            link.disturb("reset")


def _tell(context: Mapping[str, Any]) -> None:
    sys.stderr.write(f"{context.get('message')}: {context.get('exception')!r}\n")


def runner(name: str) -> Any:
    """What runs the loop *name*; asyncio's own where uvloop is not installed."""
    if name == "uvloop":
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.run
    return asyncio.run


def main() -> None:
    """The command."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))  # a cut link holds connections
    control, rows, seed, loop, namespaces = (*sys.argv[1:], *("uvloop", "{}")[len(sys.argv) - 4 :])
    runner(loop)(serve(Path(control), json.loads(rows), seed, json.loads(namespaces)))


if __name__ == "__main__":
    main()
