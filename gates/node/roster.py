"""Who the nodes are and what they say of a proposal, as governance asks the federation."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from gates.node.cid import DAG_CBOR
from gates.node.dag import Dag, checked
from gates.node.errors import PeerUnavailable, Refusal
from gates.recovery import RecoveryError

PATIENCE = 2.0
MOST_BLOCKS = 20_000
PATH = "/peer/governance/blocks"

Asked = Callable[[str], Awaitable[dict[str, list[bytes] | None]]]
"""What the peers have for a proposal, by name; None for one that can't be asked."""


class Directory(Protocol):
    """What is asked of `federation.Federation`."""

    name: str
    founding: tuple[str, ...]

    def home(self, did: str) -> str: ...
    def dids(self) -> dict[str, str]: ...
    def alive(self) -> Sequence[Any]: ...
    def peers(self) -> Sequence[Any]: ...


class FederationRoster:
    """The federation's nodes by name and DID."""

    def __init__(self, federation: Directory) -> None:
        self._federation = federation

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._federation.name

    def home(self, did: str) -> str:
        """The name of the node that has the authority over *did*."""
        return self._federation.home(did)

    def name_of(self, did: str) -> str | None:
        """The name of the node whose DID this is."""
        return next((name for name, known in self._federation.dids().items() if known == did), None)

    def founding(self) -> frozenset[str] | None:
        """The DIDs of the founding nodes, or None until all of them are known."""
        known = self._federation.dids()
        dids = [known.get(name) for name in self._federation.founding]
        return None if None in dids else frozenset(did for did in dids if did is not None)


def asking(federation: Directory, call: Callable[..., Awaitable[Any]]) -> Asked:
    """Asks all peers that are alive for their blocks of a proposal; *call* is `PeerClient.call`."""

    async def ask_one(peer: str, proposal_id: str) -> list[bytes] | None:
        try:
            answer = await call(peer, "POST", PATH, {"proposal_id": proposal_id}, idempotent=True, timeout=PATIENCE)
            return _blocks(answer)
        except (PeerUnavailable, Refusal, RecoveryError):
            return None

    async def ask(proposal_id: str) -> dict[str, list[bytes] | None]:
        names = [str(peer.name) for peer in federation.alive()]
        answers = await asyncio.gather(*(ask_one(name, proposal_id) for name in names))
        silent: dict[str, list[bytes] | None] = dict.fromkeys(str(peer.name) for peer in federation.peers())
        return silent | dict(zip(names, answers, strict=True))

    return ask


def storing(dag: Dag, author: str) -> Callable[[Sequence[bytes]], Awaitable[None]]:
    """Stores blocks that a peer gave; those that are not valid are left out, and counted by the projector."""

    async def store(blocks: Sequence[bytes]) -> None:
        good = []
        for block in blocks:
            with suppress(Refusal):
                good.append(checked(block, DAG_CBOR, author))
        await dag.put_many(good)

    return store


def _blocks(answer: Any) -> list[bytes]:
    """The blocks in a peer's answer; nothing when it is not what it should be."""
    found = answer.get("blocks") if isinstance(answer, Mapping) else None
    if not isinstance(found, list) or len(found) > MOST_BLOCKS:
        return []
    try:
        return [base64.b64decode(block, validate=True) for block in found]
    except (TypeError, ValueError, binascii.Error):
        return []
