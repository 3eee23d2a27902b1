"""What faults of links share: who is struck, how the links are changed and healed, and the probes that see it.

::

    partition: {nodes: [node-b]}                                   # from all other nodes, both ways
    latency: {nodes: [node-b], with: clients, by: 100 ms}
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gates.errors import GatesError
from gates.faults.link_probe import Asker, LinkProbe, Look, Question, ask_anew
from gates.faults.watch import Watch
from gates.fields import Settings
from gates.model import CLIENTS, Links, Pair, Target, Traffic, Way
from gates.target.error import TargetError

SOUND, GONE = 3.0, 6.0
"""So many seconds the probes have to see the links sound before the fault, and sound again after the heal."""
NOTICE = 2.0
CONTROLS, MACHINE = ("links", "namespaces"), ("namespace", "bridge", "nft")
"""What faults need that are caused between network namespaces."""
NAMESPACE = Way("namespace", CONTROLS, MACHINE, "namespace", "packets are dropped between namespaces")
PROXY = Way("proxy", ("links",), (), "proxy", "bytes are held between connections; needs nothing of the machine")
Ends = Literal["nodes", "clients", "all"]
Named = Annotated[tuple[str, ...], Field(min_length=1)]
Directions = tuple[bool, bool]
"""Of a link: whether what is sent there is struck, and what comes back."""


class LinkSettings(Settings):
    """Which links are struck.

    Attributes:
        nodes: the nodes at whose links the fault is.
        others: the other ends, written `with`: all other `nodes`, `clients`, `all` of these, or a list of names.
        direction: `both`, or only what the nodes send (`out`), or only what is sent to them (`in`).
    """

    nodes: Annotated[tuple[str, ...], Field(min_length=1)]
    others: Ends | Named = Field(default="all", alias="with")
    direction: Literal["both", "out", "in"] = "both"

    @model_validator(mode="after")
    def _apart(self) -> Self:
        twice = sorted(set(self.nodes) & set(self.named))
        if twice or len(set(self.nodes)) < len(self.nodes):
            raise ValueError(f"{(twice or self.nodes)[0]} is named twice: a link has two different ends")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The other ends that are named one by one."""
        return self.others if isinstance(self.others, tuple) else ()

    def mentions(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Each endpoint that is named, with its place."""
        yield from ((("nodes", number), name) for number, name in enumerate(self.nodes))
        yield from ((("with", number), name) for number, name in enumerate(self.named) if name != CLIENTS)

    def pairs(self, there: Collection[Pair]) -> tuple[Pair, ...]:
        """From and to of all that is struck, of what is *there*."""
        names = {end for pair in there for end in pair} - set(self.nodes)
        other = {"nodes": names - {CLIENTS}, "clients": {CLIENTS}, "all": names}
        ends = set(self.named) if self.named else other[str(self.others)]
        out = {(node, end) for node in self.nodes for end in ends} if self.direction != "in" else set()
        back = {(end, node) for node in self.nodes for end in ends} if self.direction != "out" else set()
        return tuple(sorted((out | back) & set(there)))


class LinkFault:
    """A fault of links. A subclass says what becomes of the traffic, and by what looks that is seen."""

    name: ClassVar[str]
    settings: ClassVar[type[LinkSettings]]
    ways: ClassVar[tuple[Way, ...]] = (PROXY,)
    controls: ClassVar[tuple[str, ...]] = ("links",)
    drops = False
    """Whether packets are dropped, where it is packets that pass."""
    fewest = 1
    """So many looks in a row are needed to see it."""

    def nodes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The endpoints that the fault strikes."""
        return self.settings.model_validate(settings).nodes

    def traffic(self, asked: Any) -> Traffic:
        """What becomes of what passes on a struck pair."""
        raise NotImplementedError

    def whole(self, asked: Any) -> bool:
        """Whether nothing may get through unharmed while it lasts."""
        return False

    def turns(self, asked: Any) -> int:
        """How often each probe must see it go or come back while it lasts."""
        return 0

    def question(self, asked: Any) -> Question:
        """What a probe sends."""
        return Question()

    def struck(self, asked: Any, looks: Sequence[Look], directions: Directions) -> bool:
        """Whether *looks* show the fault, the last being the newest."""
        raise NotImplementedError

    def asker(self, target: Target, pair: Pair, clock: Callable[[], float]) -> Asker:
        """How a probe asks."""
        return ask_anew(target, pair, clock)

    def opened(self, links: Links, pairs: Sequence[Pair]) -> list[Pair]:
        """The links with connections that the fault strikes, in one direction at least."""
        return [pair for pair in links.opened if pair in pairs or pair[::-1] in pairs]

    @contextmanager
    def changed(self, links: Links, pairs: tuple[Pair, ...], asked: Any) -> Iterator[None]:
        """The links, changed on entering and sound again on leaving."""
        try:
            links.shape(dict.fromkeys(pairs, self.traffic(asked)))
            yield
        finally:
            links.restore(pairs)

    @contextmanager
    def apply(
        self,
        target: Target,
        settings: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        way: str = "",
    ) -> Iterator[Watch]:
        """Change the links on entering, heal on leaving, also after an error. The watch is filled in by then.

        Raises TargetError when the target has no such links, or they can't be changed.
        """
        asked = self.settings.model_validate(settings)
        links = _links(target)
        pairs = asked.pairs(links.pairs)
        if not pairs:
            raise TargetError(f"there is no link of {', '.join(asked.nodes)} that the fault could strike", location=self.name)
        before, watch = links.dropped(pairs) or 0, Watch()
        probes = self._probes(target, pairs, asked, clock)
        try:
            _all(probes, lambda probe: probe.sound, SOUND, clock)
            with self.changed(links, pairs, asked):
                watch.caused = clock()
                _tell(probes, LinkProbe.caused, watch.caused)
                _all(probes, lambda probe: probe.seen, NOTICE, clock)
                try:
                    yield watch
                finally:
                    watch.healing = clock()
                    _tell(probes, LinkProbe.ending, watch.healing)
            _tell(probes, LinkProbe.healing, clock())
            _all([probe for probe in probes if probe.seen.is_set()], lambda probe: probe.gone, GONE, clock)
        finally:
            for probe in probes:
                probe.finish()
            self._judge(watch, probes, asked, links, pairs, before)

    def _probes(self, target: Target, pairs: Sequence[Pair], asked: Any, clock: Callable[[], float]) -> list[LinkProbe]:
        """One, already running, for every link that connections are opened on and that is struck in a direction."""
        assert target.links is not None
        probes = []
        for pair in self.opened(target.links, pairs):
            struck = _bound(self, asked, (pair in pairs, pair[::-1] in pairs))
            asker, question = self.asker(target, pair, clock), self.question(asked)
            probes.append(LinkProbe(asker, pair, question, struck, clock, fewest=self.fewest))
        for probe in probes:
            probe.start()
        return probes

    def _judge(
        self,
        watch: Watch,
        probes: Sequence[LinkProbe],
        asked: Any,
        links: Links,
        pairs: Collection[Pair],
        before: int,
    ) -> None:
        """Fill in what the probes saw: the fault is seen once all of them see it, and gone once all of them see it gone."""
        leaks, whole, turns = sum(probe.leaks for probe in probes), self.whole(asked), self.turns(asked)
        constant = [f"{probe.pair[0]} to {probe.pair[1]}" for probe in probes if probe.turns < turns]
        now = _dropped(links, pairs)
        dropped = None if now is None else now - before
        starts = [probe.seen_at for probe in probes]
        ends = [probe.gone_at for probe in probes]
        blind = not probes or (leaks and whole) or (self.drops and dropped == 0) or constant
        if not blind and all(start is not None for start in starts):
            watch.seen_start = max(start for start in starts if start is not None)
            watch.seen_end = max(end for end in ends if end is not None) if None not in ends else None
        looks = f"{sum(probe.looks for probe in probes):,} requests of {len(probes)} probes through the links"
        told = [looks, f"{leaks} got through meanwhile" if leaks and whole else ""]
        told.append("" if dropped is None else f"{dropped:,} packets dropped by the kernel's count")
        if turns:
            told.append(f"it came and went at least {min((probe.turns for probe in probes), default=0)} times on every link")
        told.append(f"not seen to come and go on {', '.join(constant)}" if constant else "")
        unsound = [probe for probe in probes if not probe.sound.is_set()]
        told += [
            f"before the fault GET {each.question.path} was not answered on {each.pair[0]} to {each.pair[1]} ({each.before})"
            for each in unsound
        ]
        blinded = (probe for probe in probes if probe.seen_at is None and probe not in unsound)
        missing = [f"{probe.pair[0]} to {probe.pair[1]}" for probe in blinded]
        told.append(f"not seen on {', '.join(missing)}" if missing else "")
        watch.detail = "; ".join(filter(None, told))


def _bound(fault: LinkFault, asked: Any, directions: Directions) -> Callable[[Sequence[Look]], bool]:
    return lambda looks: fault.struck(asked, looks, directions)


def _links(target: Target) -> Links:
    if target.links is None:
        raise TargetError("the target was started without links that can be struck")
    return target.links


def _dropped(links: Links, pairs: Collection[Pair]) -> int | None:
    try:
        return links.dropped(pairs)
    except GatesError:
        return None


def _tell(probes: Sequence[LinkProbe], what: Callable[[LinkProbe, float], None], when: float) -> None:
    for probe in probes:
        what(probe, when)


def _all(
    probes: Sequence[LinkProbe],
    event: Callable[[LinkProbe], threading.Event],
    patience: float,
    clock: Callable[[], float],
) -> None:
    """Wait until *event* of every probe is set, at most for *patience* seconds together."""
    until = clock() + patience
    for probe in probes:
        event(probe).wait(max(0.0, until - clock()))
