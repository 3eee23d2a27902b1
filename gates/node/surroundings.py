"""What governance needs of the rest of a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gates.node.identity import Identity
from gates.node.storage import Storage, Transaction


class Roster(Protocol):
    """Who the nodes of the federation are."""

    @property
    def name(self) -> str:
        """The name of this node."""
        ...

    def home(self, did: str) -> str:
        """The name of the node that has the authority over *did*."""
        ...

    def name_of(self, did: str) -> str | None:
        """The name of the node whose DID this is."""
        ...

    def founding(self) -> frozenset[str] | None:
        """The DIDs of the founding nodes, or None until all of them are known."""
        ...


class Outbox(Protocol):
    """Puts a block into the ledger's outbox and says its CID."""

    def __call__(self, tx: Transaction, data: bytes, codec: int, author: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What governance needs of the rest of the node.

    Attributes:
        ledger: the database of what is decided here.
        dag: the database of what the federation knows.
        outbox: sends a block out, in the transaction that decides it.
        put: stores the valid ones of the blocks that a peer gave.
        ask: the blocks that the peers which can be reached have for a proposal, by the name of the peer.
        now: wall clock in milliseconds.
        wake: says that something was put into the outbox.
    """

    identity: Identity
    roster: Roster
    ledger: Storage
    dag: Storage
    outbox: Outbox
    put: Callable[[Sequence[bytes]], Awaitable[Any]]
    ask: Callable[[str], Awaitable[Mapping[str, list[bytes] | None]]]
    now: Callable[[], int]
    wake: Callable[[], None] = lambda: None
