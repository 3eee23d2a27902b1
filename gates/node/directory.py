"""Who the other members are and how they seem, who has the authority over an account, and what is believed of a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gates.node.clock import now_ms
from gates.node.detector import SUSPECT_AFTER, Detector, State
from gates.node.identity import Identity
from gates.node.metrics_federation import FederationMetrics
from gates.node.records import MOST_MEMBERS, Record, Standing, home_of, make, stored
from gates.node.settings import Settings
from gates.node.storage import Storage

AHEAD = 300_000
"""Milliseconds that the time in a record may be ahead of this node's clock."""
MOST_REFUSED = 32

Verdict = Literal["own", "refused", "news", "unmet", "known"]
"""What becomes of a record. `unmet`: it is a founding member's, which has to be met at its own address first."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another member.

    Attributes:
        did: its DID, pinned at first contact; None before that.
        state: what the failure detector says.
        founding: whether accounts may have their home with it.
    """

    name: str
    did: str | None
    url: str
    state: State
    founding: bool


@dataclass(slots=True)
class Watched:
    """What is known of one peer. *record* is None until a founding member was met."""

    url: str
    detector: Detector
    record: Record | None = None
    standing: Standing = "member"
    shown: State | None = None
    polls: int = 0
    greeted: bool = False


class Directory:
    """The members that a node knows.

    Args:
        settings: name, founding peers and pace.
        identity: the node's own key.
        store: the ledger's store, in which members that have joined and pinned DIDs are kept.
        url: where other nodes reach this one.
        now, clock: wall clock and steady clock, milliseconds.

    Attributes:
        founding: the names of the founding members, sorted.
        refused: by name, the last time that somebody said to be a member and was not.
    """

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        store: Storage,
        *,
        url: str,
        metrics: FederationMetrics,
        now: Callable[[], int] = now_ms,
        clock: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self.name, self.url, self.identity = settings.name, url, identity
        self._store, self._metrics, self._now, self._clock = store, metrics, now, clock
        self._pace_ms = settings.peer_pace_ms
        self._configured = dict(settings.peers)
        self._closed = settings.closed
        self.founding = tuple(sorted({settings.name, *settings.peers}))
        self._watched = {name: self._new(peer) for name, peer in settings.peers.items()}
        self._names: dict[str, str] = {}  # of every member that was met, by its DID
        self._own = make(identity, settings.name, url, "member", now())
        self.refused: dict[str, str] = {}
        self._homes = lru_cache(maxsize=10_000)(lambda did: home_of(did, self.founding))

    # --- what other parts ask -----------------------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether this node has left the federation."""
        return self._own.state == "left"

    def peers(self) -> list[Peer]:
        """Every other member, by name."""
        if self.left:
            return []
        return [self._peer(name, watched) for name, watched in sorted(self._watched.items()) if watched.standing == "member"]

    def alive(self) -> list[Peer]:
        """The members that answer and whose DID is known."""
        return [peer for peer in self.peers() if peer.state is State.ALIVE and peer.did is not None]

    def peer(self, name_or_did: str) -> Peer | None:
        """The member of that name or DID; None when there is none."""
        return next((peer for peer in self.peers() if name_or_did in (peer.name, peer.did)), None)

    def known(self, did: str) -> bool:
        """Whether *did* is that of another member."""
        name = self._names.get(did)
        return name is not None and not self.left and self._watched[name].standing == "member"

    def home(self, did: str) -> str:
        """The name of the member with the authority over the account of *did*: a node's own account is at home with it."""
        return self.name if did == self.identity.did else self._names.get(did) or self._homes(did)

    def is_home(self, did: str) -> bool:
        """Whether this node has the authority over the account of *did*."""
        return self.home(did) == self.name

    def dids(self) -> dict[str, str]:
        """DID by name of every member whose DID is known, this node and those that have left included."""
        return {self.name: self.identity.did, **{name: did for did, name in self._names.items()}}

    def name_of(self, did: str) -> str | None:
        """The name of the member whose DID this is, this node and those that have left included."""
        return self.name if did == self.identity.did else self._names.get(did)

    def load(self) -> None:
        """Take up what was stored: members that have joined, pinned DIDs, and whether this node has left."""
        founding = self._store.read("SELECT name FROM federation_founding")
        if founding and not self._configured:
            self._found(tuple(sorted(name for (name,) in founding)))
        for record, standing in stored(self._store.read("SELECT state, record FROM federation_members")).values():
            if record.name != self.name:
                self._take(record, standing)
            elif record.state == "left" and record.did == self.identity.did:
                self._own = record
        self._count()

    def heard(self, name: str) -> None:
        """A call to the peer *name* was answered."""
        if (watched := self._watched.get(name)) is not None:
            watched.detector.heard(self._clock())
            self._show(name, watched)

    def missed(self, name: str, *, refused: bool = False) -> None:
        """A call to the peer *name* was not answered; *refused*: nobody listens there."""
        if (watched := self._watched.get(name)) is not None:
            watched.detector.missed(refused=refused)
            self._show(name, watched)

    # --- records ------------------------------------------------------------------------------------------------------

    def _judge(self, record: Record) -> Verdict:
        if record.did == self.identity.did:
            return "own"
        watched = self._watched.get(record.name)
        holder = self._names.get(record.did, record.name)
        pinned = watched.record.did if watched is not None and watched.record is not None else record.did
        if record.name == self.name or holder != record.name or pinned != record.did:
            self._note(record.name, f"{record.did} says to be {record.name}, which is {self.dids().get(record.name, holder)}")
            return "refused"
        if watched is None:
            room = len(self._watched) < MOST_MEMBERS and not self._closed
            return "news" if room and record.at <= self._now() + AHEAD else "refused"
        if watched.record is None:
            return "unmet"
        news = watched.record.at < record.at <= self._now() + AHEAD and watched.standing != "evicted"
        return "news" if news else "known"

    def _note(self, name: str, text: str) -> None:
        """Remember who was refused, for people who look; the last few are enough."""
        self.refused.pop(name, None)
        self.refused[name] = text
        if len(self.refused) > MOST_REFUSED:
            del self.refused[next(iter(self.refused))]

    def _take(self, record: Record, standing: Standing) -> None:
        url = self._configured.get(record.name, record.url)  # a configured address may be a way around the direct one
        watched = self._watched.setdefault(record.name, self._new(url))
        watched.url, watched.record, watched.standing = url, record, standing
        self._names[record.did] = record.name

    # --- figures ------------------------------------------------------------------------------------------------------

    def _found(self, names: tuple[str, ...]) -> None:
        self.founding = names
        self._homes.cache_clear()

    def _new(self, url: str) -> Watched:
        patience = max(SUSPECT_AFTER, 5 * self._pace_ms // 2)
        return Watched(url, Detector(suspect_after=patience, down_after=2 * patience))

    def _peer(self, name: str, watched: Watched) -> Peer:
        did = watched.record.did if watched.record is not None else None
        return Peer(name, did, watched.url, watched.detector.state(self._clock()), name in self.founding)

    def _show(self, name: str, watched: Watched) -> None:
        state = watched.detector.state(self._clock())
        if state is not watched.shown:
            watched.shown = state
            self._metrics.changes.labels(name, state).inc()
            for each in State:
                self._metrics.state.labels(name, each).set(each is state)

    def _count(self) -> None:
        self._metrics.members.set(0 if self.left else 1 + len(self.peers()))
