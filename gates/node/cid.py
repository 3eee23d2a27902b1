"""Content identifiers and DAG-CBOR: CIDv1 over sha2-256 in base32, and the one encoding that a document has.

libipld does the encoding. It takes integers and floats that are written in other ways than the one that DAG-CBOR allows, so
what it decoded is encoded again and compared: a document has one encoding, and so one CID. Links are the binary form of a CID
(`link`); a byte string that reads as one is a link to libipld, so a document that holds it as plain bytes is refused.
"""

from __future__ import annotations

import hashlib
from base64 import b32decode, b32encode, b64encode
from binascii import Error as NotBase32
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libipld

from gates.node.errors import Refusal

RAW = 0x55
DAG_CBOR = 0x71
CODECS = {"raw": RAW, "dag-cbor": DAG_CBOR}
SHA2_256 = 0x12
_LENGTH = 32
_LONGEST = 128
_STORED = frozenset(CODECS.values())


@dataclass(frozen=True, slots=True)
class Cid:
    """A CIDv1 over sha2-256.

    Attributes:
        codec: multicodec of the content: RAW, DAG_CBOR, or another that this node stores no blocks of.
        digest: sha2-256 of the content.
    """

    codec: int
    digest: bytes

    def __bytes__(self) -> bytes:
        return b"\x01" + _varint(self.codec) + bytes((SHA2_256, _LENGTH)) + self.digest

    def __str__(self) -> str:
        return "b" + b32encode(bytes(self)).decode().lower().rstrip("=")

    def shown(self) -> dict[str, Any]:
        """The members of the interface's `Cid`."""
        digest = b64encode(self.digest).decode()
        return {"version": 1, "codec": self.codec, "hash_alg": SHA2_256, "hash_bytes": digest}


def cid_of(data: bytes, codec: int = RAW) -> str:
    """The CID of *data* as text."""
    return str(Cid(codec, hashlib.sha256(data).digest()))


def parse(text: object) -> Cid:
    """The CID that *text* writes. Raises Refusal with 400 for all but a canonically written CIDv1, sha2-256, base32."""
    try:
        cid = _parsed(text)
    except (NotBase32, ValueError, IndexError):
        cid = None
    if cid is None or str(cid) != text:
        raise Refusal(400, f"{str(text)[:80]!r} is no CID; expected a CIDv1 over sha2-256 in base32, as in 'bafkrei…'")
    return cid


def _parsed(text: object) -> Cid | None:
    if not isinstance(text, str) or not text.startswith("b") or len(text) > _LONGEST or not text.islower():
        return None
    binary = b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
    if binary[0] != 1:
        return None
    codec, start = _read_varint(binary, 1)
    if binary[start : start + 2] != bytes((SHA2_256, _LENGTH)) or len(binary) != start + 2 + _LENGTH:
        return None
    return Cid(codec, binary[start + 2 :])


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _read_varint(binary: bytes, start: int) -> tuple[int, int]:
    """The unsigned varint at *start*, and where it ends."""
    number = shift = 0
    while binary[start] & 0x80:
        number |= (binary[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
    return number | binary[start] << shift, start + 1


def link(text: str) -> bytes:
    """The binary form of a CID, which `encode` writes as a link."""
    return bytes(parse(text))


def encode(document: Any) -> bytes:
    """The canonical DAG-CBOR of *document*. Raises Refusal with 422 for what has none: NaN, tuples, integers beyond 64 bits."""
    try:
        return bytes(libipld.encode_dag_cbor(document))
    except (ValueError, TypeError, RecursionError) as error:
        raise Refusal(422, f"no DAG-CBOR document: {_reason(error)}") from None


def decode(data: bytes) -> Any:
    """The document that *data* holds. Raises Refusal with 422 unless *data* is the one canonical DAG-CBOR encoding of it."""
    try:
        document = libipld.decode_dag_cbor(data)
        again = libipld.encode_dag_cbor(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise Refusal(422, f"no DAG-CBOR: {_reason(error)}") from None
    if again != data:
        raise Refusal(422, "no canonical DAG-CBOR: expected shortest integers, 64-bit floats, and links for CIDs")
    return document


def links(document: Any) -> list[str]:
    """The CIDs of the blocks that a decoded *document* links to, each once, in the order in which they stand."""
    return list(dict.fromkeys(_links(document)))


def _links(document: Any) -> Iterator[str]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, bytes) and _is_link(value):
            yield str(Cid(value[1], value[4:]))


def _is_link(value: bytes) -> bool:
    """Whether *value* is the CID of a block that a node could hold."""
    return len(value) == 4 + _LENGTH and value[0] == 1 and value[1] in _STORED and value[2:4] == bytes((SHA2_256, _LENGTH))


def _reason(error: BaseException) -> str:
    return str(error).removeprefix("Failed to decode DAG-CBOR. ").removeprefix("Failed to encode DAG-CBOR. ")[:200]
