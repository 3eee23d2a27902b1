"""The fault `partition`: nothing passes between some nodes and others: full, one-way, partial or flapping.

By namespaces packets are dropped by nftables; by the proxy the bytes are held. Either way what was sent on an open connection
arrives after the heal, when nobody gave the connection up, and no new connection comes about.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import Field

from gates.faults.link_probe import SILENT, Look, Question
from gates.faults.network import NAMESPACE, PROXY, Directions, Ends, LinkFault, LinkSettings, Named
from gates.fields import Duration, Settings
from gates.model import Links, Pair, Traffic


class Flapping(Settings):
    """The cut comes and goes: `down` for so long, `up` for so long, from the start."""

    down: Duration = Field(ge=0.1, le=60)
    up: Duration = Field(ge=0.1, le=60)


class PartitionSettings(LinkSettings):
    """`partition: {nodes: [node-b]}`: from all other nodes, or from those that `with` names; clients still reach them.

    Attributes:
        flapping: when the cut comes and goes instead of staying.
    """

    others: Ends | Named = Field(default="nodes", alias="with")
    flapping: Flapping | None = None


class Partition(LinkFault):
    """Nothing passes between some nodes and others, in one direction or both."""

    name = "partition"
    settings = PartitionSettings
    ways = (NAMESPACE, PROXY)
    drops = True

    def whole(self, asked: PartitionSettings) -> bool:
        return asked.flapping is None

    def turns(self, asked: PartitionSettings) -> int:
        return 2 if asked.flapping else 0  # down, up, and down again

    def traffic(self, asked: PartitionSettings) -> Traffic:
        return Traffic(cut=True)

    def question(self, asked: PartitionSettings) -> Question:
        return Question(patience=min(0.5, asked.flapping.down / 2) if asked.flapping else 0.5)

    def struck(self, asked: PartitionSettings, looks: Sequence[Look], directions: Directions) -> bool:
        if asked.flapping and len(looks) > 1:  # in the row of looks; the one after the heal stands alone
            return any(look.how == SILENT for look in looks)
        return looks[-1].how == SILENT

    @contextmanager
    def changed(self, links: Links, pairs: tuple[Pair, ...], asked: PartitionSettings) -> Iterator[None]:
        with super().changed(links, pairs, asked):
            if asked.flapping is None:
                yield
                return
            with _flapping(links, pairs, asked.flapping, self.traffic(asked)):
                yield


@contextmanager
def _flapping(links: Links, pairs: tuple[Pair, ...], asked: Flapping, traffic: Traffic) -> Iterator[None]:
    """A thread that opens the cut links and cuts them again, until the block is left."""
    stop, failed = threading.Event(), list[Exception]()

    def flap() -> None:
        try:
            while not stop.wait(asked.down):
                links.restore(pairs)
                if stop.wait(asked.up):
                    return
                links.shape(dict.fromkeys(pairs, traffic))
        except Exception as error:  # told to who waits, after the heal
            failed.append(error)

    thread = threading.Thread(target=flap, name="flapping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


class BlackHoleSettings(LinkSettings):
    """`black-hole: {nodes: [node-b], with: clients}`."""


class BlackHole(LinkFault):
    """Connections stay open and new ones are taken, but nothing comes through; what was held arrives on the heal."""

    name = "black-hole"
    settings = BlackHoleSettings

    def whole(self, asked: BlackHoleSettings) -> bool:
        return True

    def traffic(self, asked: BlackHoleSettings) -> Traffic:
        return Traffic(cut=True)

    def struck(self, asked: BlackHoleSettings, looks: Sequence[Look], directions: Directions) -> bool:
        return looks[-1].how == SILENT
