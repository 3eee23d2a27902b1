"""Who belongs to the federation: a record a member, signed by the member itself, so that anybody may pass it on.

Of two records of one member the later counts. A name belongs to the DID that was first seen under it (it is pinned), and a
founding member's DID is taken from nobody but the founding member's own address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, cast

from gates.node.cid import decode, encode
from gates.node.errors import Refusal
from gates.node.identity import Identity, is_did, signed, valid
from gates.node.settings import peer_url
from gates.node.storage import Transaction

KIND = "icn/member"
MOST_MEMBERS = 256
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FIELDS = {"name", "did", "url", "state", "at", "signature"}

TABLES = """
CREATE TABLE IF NOT EXISTS federation_members (
    name TEXT PRIMARY KEY,
    did TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS federation_founding (name TEXT PRIMARY KEY);
"""

Standing = Literal["member", "left", "evicted"]


@dataclass(frozen=True, slots=True)
class Record:
    """What a member says of itself.

    Attributes:
        state: `member` or `left`; `evicted` only in this node's own books.
        at: when it said so, milliseconds.
        document: the signed record as it was received.
    """

    name: str
    did: str
    url: str
    state: Standing
    at: int
    document: Mapping[str, Any]


def make(identity: Identity, name: str, url: str, state: Standing, now: int) -> Record:
    """The record in which the node of *identity* says at *now* that it is a member, or that it has left."""
    document = {"name": name, "did": identity.did, "url": url, "state": state, "at": now}
    return Record(name, identity.did, url, state, now, signed(KIND, document, identity))


def parse(document: Any) -> Record:
    """The record in *document*. Raises Refusal with 422 when it is none, or not signed by its member."""
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise Refusal(422, f"a membership record has exactly the fields {', '.join(sorted(_FIELDS))}")
    name, did, at = document["name"], document["did"], document["at"]
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(did, str) or not is_did(did):
        raise Refusal(422, "a membership record: expected a node's name and its did:key")
    if type(at) is not int or at < 0 or document["state"] not in ("member", "left"):
        raise Refusal(422, "a membership record: expected the state member or left, and a time in milliseconds")
    if not valid(KIND, document, did):
        raise Refusal(422, f"the membership record of {name} is not signed by {did}")
    return Record(name, did, checked_url(document["url"]), document["state"], at, document)


def checked_url(url: Any) -> str:
    """*url* as the address of a node. Raises Refusal with 422."""
    try:
        return peer_url(url)
    except ValueError as error:
        raise Refusal(422, f"peer: {error}") from None


def keep(tx: Transaction, record: Record, standing: Standing) -> None:
    """Store *record*, or what this node thinks of it."""
    tx.execute("DELETE FROM federation_members WHERE name = ? OR did = ?", (record.name, record.did))
    row = (record.name, record.did, standing, encode(dict(record.document)))
    tx.execute("INSERT INTO federation_members (name, did, state, record) VALUES (?, ?, ?, ?)", row)


def keep_founding(tx: Transaction, names: tuple[str, ...]) -> None:
    """Store the names of the founding members of the federation that was joined."""
    tx.execute("DELETE FROM federation_founding")
    tx.executemany("INSERT INTO federation_founding (name) VALUES (?)", [(name,) for name in names])


def stored(rows: list[Any]) -> dict[str, tuple[Record, Standing]]:
    """Record and standing by name, from the rows (state, record) of the table."""
    records = [(parse(decode(record)), cast(Standing, state)) for state, record in rows]
    return {record.name: (record, state) for record, state in records}


def home_of(did: str, founding: tuple[str, ...]) -> str:
    """The founding member that has the authority over a user's account: the highest digest of name and DID wins."""
    return max(founding, key=lambda name: sha256(f"{name}{did}".encode()).digest())
