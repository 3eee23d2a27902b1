"""Faults of what passes on a link: `latency`, `jitter`, `bandwidth`, `slicing`, `loss` and `slow-reader`.

What the proxy does with the bytes of a connection is not what a network does with packets. Loss in particular: a TCP stream has
no gaps, so a lost segment shows as a stall of 0.2 s, 0.6 s, 1.4 s and so on, and nothing learns of it that would send less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from gates.faults.link_probe import ANSWERED, SILENT, Look, Question
from gates.faults.network import CONTROLS, MACHINE, PROXY, Directions, Ends, LinkFault, LinkSettings
from gates.fields import Duration, Ratio, Size
from gates.model import Traffic, Way

NETEM = Way("namespace", CONTROLS, (*MACHINE, "netem"), "namespace", "packets are delayed by the kernel")
SHAPER = Way("namespace", CONTROLS, (*MACHINE, "htb"), "namespace", "packets are shaped by the kernel")
NUMGEN = Way("namespace", CONTROLS, (*MACHINE, "nft-numgen"), "namespace", "packets are dropped at random")
STALL = 0.19
Delay = Annotated[Duration, Field(gt=0, le=30)]


def mean(looks: Sequence[Look]) -> float:
    """Of the seconds that the answered ones of *looks* took; 0 without any."""
    seconds = [look.seconds for look in looks if look.how == ANSWERED]
    return sum(seconds) / len(seconds) if seconds else 0.0


class LatencySettings(LinkSettings):
    """`latency: {nodes: [node-b], by: 100 ms, jitter: 20 ms}`."""

    by: Delay
    jitter: Annotated[Duration, Field(ge=0, le=30)] = 0.0


class Latency(LinkFault):
    """What passes arrives later."""

    name = "latency"
    settings = LatencySettings
    ways = (NETEM, PROXY)
    fewest = 3

    def traffic(self, asked: LatencySettings) -> Traffic:
        return Traffic(latency=asked.by, jitter=asked.jitter)

    def question(self, asked: LatencySettings) -> Question:
        return Question(patience=1.0 + 8 * (asked.by + asked.jitter))

    def struck(self, asked: LatencySettings, looks: Sequence[Look], directions: Directions) -> bool:
        return mean(looks[-3:]) >= 0.7 * 2 * asked.by * sum(directions)  # a handshake, and then the request


class JitterSettings(LinkSettings):
    """`jitter: {nodes: [node-b], by: 50 ms}`: from nothing to twice as much."""

    by: Delay


class Jitter(LinkFault):
    """What passes arrives later by a time that varies from nothing to twice as much as asked for."""

    name = "jitter"
    settings = JitterSettings
    ways = (NETEM, PROXY)
    fewest = 5

    def traffic(self, asked: JitterSettings) -> Traffic:
        return Traffic(latency=asked.by, jitter=asked.by)

    def question(self, asked: JitterSettings) -> Question:
        return Question(patience=1.0 + 16 * asked.by)

    def struck(self, asked: JitterSettings, looks: Sequence[Look], directions: Directions) -> bool:
        return mean(looks[-5:]) >= 0.5 * 2 * asked.by * sum(directions)


class BandwidthSettings(LinkSettings):
    """`bandwidth: {nodes: [node-b], per_second: 100 kB}`: of all connections of a link together, in each direction.

    Attributes:
        path: what the probes ask for; the longer its answer, the better they see how slow the way back is.
    """

    per_second: Annotated[Size, Field(ge=500, le=10**9)]
    path: str = Field(default="/metrics", pattern="^/")


class Bandwidth(LinkFault):
    """No more than so many bytes pass in a second."""

    name = "bandwidth"
    settings: ClassVar[type[LinkSettings]] = BandwidthSettings
    ways: ClassVar[tuple[Way, ...]] = (SHAPER, PROXY)

    def traffic(self, asked: Any) -> Traffic:
        return Traffic(rate=asked.per_second)

    def question(self, asked: Any) -> Question:
        return Question(asked.path, padding=min(16_000, int(asked.per_second * 0.2)), patience=3.0)

    def struck(self, asked: Any, looks: Sequence[Look], directions: Directions) -> bool:
        look = looks[-1]
        there, back = directions
        least = (look.sent * there + look.received * back) / asked.per_second
        return look.how == SILENT or (least >= 0.03 and look.seconds >= 0.7 * least)


class SlowReaderSettings(LinkSettings):
    """`slow-reader: {nodes: [node-b], per_second: 2 kB}`: clients, or others, read what the nodes answer that slowly.

    Attributes:
        path: what the probes ask for.
    """

    others: Ends | tuple[str, ...] = Field(default="clients", alias="with")
    direction: Literal["both", "out", "in"] = "out"
    per_second: Annotated[Size, Field(ge=200, le=10**9)] = 2000.0
    path: str = Field(default="/metrics", pattern="^/")


class SlowReader(Bandwidth):
    """Who asked reads the answer slowly, so that whoever answers can't get rid of it."""

    name = "slow-reader"
    settings = SlowReaderSettings
    ways = (PROXY,)

    def traffic(self, asked: Any) -> Traffic:
        return Traffic(rate=asked.per_second, buffer=4096)

    def question(self, asked: Any) -> Question:
        # padded, because between nodes it is the request that is read slowly on the links that the node opens
        return Question(asked.path, padding=min(16_000, int(asked.per_second * 0.2)), patience=2.0)


class SlicingSettings(LinkSettings):
    """`slicing: {nodes: [node-b], size: 64 B, pause: 2 ms}`."""

    size: Annotated[Size, Field(ge=1, le=65536)] = 64.0
    pause: Annotated[Duration, Field(ge=0.001, le=1)] = 0.002


class Slicing(LinkFault):
    """What was sent together arrives in many small pieces."""

    name = "slicing"
    settings = SlicingSettings

    def traffic(self, asked: SlicingSettings) -> Traffic:
        return Traffic(slice=int(asked.size), pause=asked.pause)

    def question(self, asked: SlicingSettings) -> Question:
        return Question(padding=min(8000, int(20 * asked.size)), patience=5.0)

    def struck(self, asked: SlicingSettings, looks: Sequence[Look], directions: Directions) -> bool:
        look = looks[-1]
        there, back = directions
        least = (look.sent * there + look.received * back) / int(asked.size) * asked.pause
        return look.how == ANSWERED and look.seconds >= 0.7 * least


class LossSettings(LinkSettings):
    """`loss: {nodes: [node-b], share: 10 %}`."""

    share: Annotated[Ratio, Field(gt=0, lt=1)]


class Loss(LinkFault):
    """A share of what is sent is lost, and sent again until it arrives."""

    name = "loss"
    settings = LossSettings
    ways = (NUMGEN, PROXY)
    drops = True

    def traffic(self, asked: LossSettings) -> Traffic:
        return Traffic(loss=asked.share)

    def question(self, asked: LossSettings) -> Question:
        return Question(patience=1.0)

    def struck(self, asked: LossSettings, looks: Sequence[Look], directions: Directions) -> bool:
        return looks[-1].how == SILENT or looks[-1].seconds >= STALL
