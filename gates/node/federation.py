"""The federation as this node sees it: its members, how they are, and which of them has the authority over an account.

The founding members are given by the settings (or learned from the federation that was joined); they share out the accounts.
Others join: they bid, execute and store, but no account has its home with them but their own. Every member spreads the signed
records of all (`records.py`) in handshakes, so that who joins or leaves at one node is known to all of them a moment later.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from gates.node.background import Background
from gates.node.clock import now_ms
from gates.node.detector import State
from gates.node.directory import Directory, Peer, Verdict
from gates.node.errors import FAILURES, PeerUnavailable, Refusal
from gates.node.identity import Identity
from gates.node.metrics_federation import FederationMetrics
from gates.node.records import MOST_MEMBERS, TABLES, Record, Standing, checked_url, keep, keep_founding, make, parse
from gates.node.settings import Settings
from gates.node.storage import Storage
from gates.recovery import RecoveryError

PATIENCE = 0.5
GREET_EVERY = 30
_LOCAL = ("localhost", "::1", "0.0.0.0")


class Contact(Protocol):
    """How a peer is asked; `PeerClient` does it."""

    async def probe(self, peer: Peer, timeout: float) -> bool: ...
    async def greet(self, url: str, greeting: Mapping[str, Any], nonce: str, timeout: float) -> dict[str, Any]: ...


class Federation(Directory, Background):
    """The members, and a task that looks at them.

    Args:
        draw: a number from 0 to 1, to spread the polls. The others are those of `Directory`.

    Attributes:
        polled: whether every peer was looked at since the start.
    """

    task_name = "federation"

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
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(settings, identity, store, url=url, metrics=metrics, now=now, clock=clock)
        self.polled = False
        self._draw = draw
        self._news = asyncio.Event()
        self._contact: Contact | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def look_through(self, contact: Contact) -> None:
        """Ask the peers through *contact* from now on; due before the start."""
        self._contact = contact

    async def _run(self) -> None:
        """Poll for ever, earlier when there is news to spread."""
        while True:
            self._news.clear()
            await self.look()
            try:
                async with asyncio.timeout(self._pace_ms / 1000 * (0.8 + 0.4 * self._draw())):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at every peer once: whether it answers, and now and then a handshake."""
        await asyncio.gather(*(self._poll(peer) for peer in self.peers()))
        self.polled = True

    async def _poll(self, peer: Peer) -> None:
        assert self._contact is not None
        watched = self._watched[peer.name]
        began = time.perf_counter()
        if await self._contact.probe(peer, PATIENCE):
            self._metrics.probe_time.labels(peer.name).observe(time.perf_counter() - began)
            self.heard(peer.name)
            watched.polls += 1
            if not watched.greeted or watched.polls % GREET_EVERY == 0:
                await self._try_greet(peer)
        else:
            self._show(peer.name, watched)

    async def _try_greet(self, peer: Peer) -> None:
        try:
            await self.greet(peer)
        except (PeerUnavailable, Refusal, RecoveryError, *FAILURES):
            return  # counted; the next poll tries again

    # --- handshakes ---------------------------------------------------------------------------------------------------

    async def greet(self, peer: Peer) -> None:
        """Exchange records with *peer*, and pin its DID when it is met first. Raises PeerUnavailable, Refusal."""
        watched = self._watched[peer.name]
        try:
            met = await self._handshake(peer.url)
            await self._pin(peer, met)
        except (PeerUnavailable, Refusal) as error:
            self._metrics.handshakes.labels(peer.name, "refused" if isinstance(error, Refusal) else "failed").inc()
            raise
        self._metrics.handshakes.labels(peer.name, "done").inc()
        watched.greeted = True
        await self._learn(met.records)

    async def _pin(self, peer: Peer, met: _Met) -> None:
        """Accept who answered at the address of *peer* as that peer. Raises Refusal when it is somebody else."""
        first, other = met.records[0], self._names.get(met.did, peer.name) != peer.name
        if met.did != (peer.did or met.did) or first.name != peer.name or other:
            self._refuse(peer.name, f"{first.name} with {met.did} answers at {peer.url}, expected {peer.did or peer.name}")
        if met.founding != self.founding and (peer.founding or met.founding != (peer.name,)):
            self._refuse(peer.name, f"{peer.name} belongs to a federation founded by {', '.join(met.founding)}")
        self.refused.pop(peer.name, None)
        if peer.did is None:
            await self._accept(first)

    async def _handshake(self, url: str) -> _Met:
        assert self._contact is not None
        nonce = secrets.token_hex(16)
        return _met(await self._contact.greet(url, self.greeting(), nonce, 2 * PATIENCE))

    def greeting(self) -> dict[str, Any]:
        """What this node says of itself and of the members that it knows, its own record first."""
        known = [
            watched.record for watched in self._watched.values() if watched.record is not None and watched.standing != "evicted"
        ]
        return {"founding": list(self.founding), "records": [dict(record.document) for record in (self._own, *known)]}

    async def welcome(self, did: str, greeting: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the *greeting* that *did* has signed. Raises Refusal for another federation, and for whom is refused."""
        met = _met({**greeting, "did": did})
        own = met.records[0]
        alone = met.founding == (own.name,) and own.name not in self.founding
        if met.founding != self.founding and not alone:
            raise Refusal(409, f"this federation was founded by {', '.join(self.founding)}, not {', '.join(met.founding)}")
        if self.left:
            return self.greeting()  # who did not hear that this node has left, hears it now
        if own.name in self._watched and self._watched[own.name].standing == "evicted":
            raise Refusal(403, f"{own.name} was removed from this federation by the operator of {self.name}")
        outcome = await self._merge(own)
        if outcome == "refused":
            text = f"{self.name} takes no new members, or {own.name} or its DID is another member's, or its clock is ahead"
            raise Refusal(409, text)
        await self._learn(met.records[1:])
        return self.greeting()

    async def _learn(self, records: list[Record]) -> None:
        for record in records:
            await self._merge(record)

    async def _merge(self, record: Record) -> Verdict:
        """Take *record* over when it is news, and say what became of it."""
        outcome = self._judge(record)
        if outcome == "news":
            await self._accept(record)
        elif outcome == "unmet":
            self._news.set()  # a founding member says hello: go and meet it at its own address
        elif outcome == "own" and record.at >= self._own.at and record.document != self._own.document:
            # This node's clock went back since it signed the record that the others have: what it says now must count.
            self._own = self._say(self._own.state, record.at + 1)
            self.spread()
        self._metrics.records.labels(outcome).inc()
        return outcome

    async def _accept(self, record: Record, standing: Standing | None = None) -> None:
        """Store *record*, then take it over and spread it."""
        whole = standing or record.state
        await self._store.write(lambda tx: keep(tx, record, whole))
        self._take(record, whole)
        self._count()
        self.spread()

    def spread(self) -> None:
        """Greet every peer at the next look, which is now."""
        for watched in self._watched.values():
            watched.greeted = False
        self._news.set()

    # --- what an operator asks ----------------------------------------------------------------------------------------

    async def join(self, url: str) -> Peer:
        """Join the federation of the node at *url*; known to all its members a moment later. Raises Refusal."""
        self._own, before = self._say("member"), self._own
        try:
            met = await self._meet(url)
            if met.founding != self.founding and len(self.founding) > 1:
                raise Refusal(
                    409, f"this node's federation was founded by {', '.join(self.founding)}, not {', '.join(met.founding)}"
                )
        except Refusal:
            self._own = before
            raise
        await self._store.write(lambda tx: keep_founding(tx, met.founding))
        await self._store.write(lambda tx: keep(tx, self._own, "member"))
        self._found(met.founding)
        return await self._added(met)

    async def add(self, url: str) -> Peer:
        """Meet the node at *url*, a member of this federation that this node does not know, or no more. Raises Refusal."""
        met = await self._meet(url)
        if met.founding != self.founding:
            raise Refusal(409, f"{met.records[0].name} belongs to another federation; it has to join this one itself")
        return await self._added(met)

    async def _meet(self, url: str) -> _Met:
        if _place(checked_url(url)) == _place(self.url):
            raise Refusal(422, f"peer: {url} is this node itself")
        try:
            met = await self._handshake(checked_url(url))
        except PeerUnavailable as error:
            raise Refusal(503, str(error), retry_after=1) from None
        if met.did == self.identity.did:
            raise Refusal(422, f"peer: {url} is this node itself")
        if met.records[0].state == "left":
            raise Refusal(409, f"{met.records[0].name} has left its federation")
        return met

    async def _added(self, met: _Met) -> Peer:
        first = met.records[0]
        if self._judge(first) == "refused":
            raise Refusal(409, self.refused.get(first.name, f"{first.name} can't be a member"))
        await self._accept(first)
        await self._learn(met.records[1:])
        return self._peer(first.name, self._watched[first.name])

    async def leave(self) -> None:
        """Leave the federation, and tell the members that answer; the others hear it from them."""
        record = self._say("left")
        await self._store.write(lambda tx: keep(tx, record, "left"))
        told = self.peers()
        self._own = record
        await asyncio.gather(*(self._try_greet(peer) for peer in told))
        self._count()

    async def evict(self, name: str) -> None:
        """Know the member *name* no more, whatever others say, until it is added again. Raises Refusal with 404."""
        watched = self._watched.get(name)
        if watched is None or watched.record is None:
            raise Refusal(404, f"no member {name[:100]!r} was met")
        await self._accept(watched.record, "evicted")

    def _say(self, standing: Standing, lowest: int = 0) -> Record:
        """A record of this node's own, later than its last."""
        at = max(self._now(), self._own.at + 1, lowest)
        return make(self.identity, self.name, self.url, standing, at)

    def _refuse(self, name: str, text: str) -> NoReturn:
        self._note(name, text)
        raise Refusal(409, text)


@dataclass(frozen=True, slots=True)
class _Met:
    """Who was met in a handshake: its DID, and the records that it gave, its own first."""

    did: str
    founding: tuple[str, ...]
    records: list[Record]


def _met(document: Mapping[str, Any]) -> _Met:
    """What a greeting says. Raises Refusal with 422."""
    founding, records, did = document.get("founding"), document.get("records"), document.get("did")
    if not isinstance(founding, list) or not founding or not all(isinstance(name, str) for name in founding):
        raise Refusal(422, "a greeting: expected the names of the founding members")
    if not isinstance(records, list) or not 1 <= len(records) <= MOST_MEMBERS + 1:
        raise Refusal(422, f"a greeting: expected 1 to {MOST_MEMBERS + 1} membership records")
    parsed = [parse(record) for record in records]
    if parsed[0].did != did:
        raise Refusal(422, f"a greeting: expected the record of {did} first")
    return _Met(parsed[0].did, tuple(sorted(founding)), parsed)


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    return "127.0.0.1" if host in _LOCAL else host, parts.port


__all__ = ["TABLES", "Contact", "Federation", "Peer", "State"]
