"""What a block proves, checked without a line of the node's own code: its CID, its encoding and its signature.

The invariants judge nodes by this, so it shares nothing with them but the standards: CIDv1 over sha2-256 in base32, DAG-CBOR,
Ed25519 and did:key. What is no base dependency is imported when it is needed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

RAW, DAG_CBOR = 0x55, 0x71
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519 = b"\xed\x01"
_PREFIX = "did:key:z"


def cid_of(data: bytes, codec: int = RAW) -> str:
    """The CIDv1 (sha2-256, base32) of *data*."""
    binary = bytes((1, codec, 0x12, 32)) + hashlib.sha256(data).digest()
    return "b" + base64.b32encode(binary).decode().lower().rstrip("=")


def names(cid: str, data: bytes) -> bool:
    """Whether *cid* is that of *data*, as a document or as raw bytes."""
    return cid in (cid_of(data, DAG_CBOR), cid_of(data))


def link(value: Any) -> str:
    """The CID that a decoded link spells, "" when it is none."""
    return (
        "b" + base64.b32encode(value).decode().lower().rstrip("=") if isinstance(value, bytes) and value[:1] == b"\x01" else ""
    )


def binary(cid: str) -> bytes:
    """The binary form of *cid*, as a decoded document links to it."""
    text = cid[1:].upper()
    return base64.b32decode(text + "=" * (-len(text) % 8))


def document(data: bytes) -> Mapping[str, Any]:
    """The map that a DAG-CBOR block holds; an empty one for everything else."""
    import libipld

    try:
        found = libipld.decode_dag_cbor(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_signed(found: Mapping[str, Any], did: Any) -> bool:
    """Whether *found* carries the signature of *did* over `type`, a newline and the canonical encoding of the rest."""
    import libipld

    kind, signature = found.get("type"), found.get("signature")
    if not isinstance(kind, str) or not isinstance(signature, bytes) or not isinstance(did, str):
        return False
    unsigned = {name: value for name, value in found.items() if name != "signature"}
    return _verify(did, kind.encode() + b"\n" + bytes(libipld.encode_dag_cbor(unsigned)), signature)


def _verify(did: str, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    key = _key(did)
    if key is None:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def _key(did: str) -> Any:
    """The public key that a did:key spells, or None."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    digits = did.removeprefix(_PREFIX)
    if digits == did or not set(digits) <= set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number * 58 + _ALPHABET.index(digit)
    spelled = number.to_bytes((number.bit_length() + 7) // 8)
    return Ed25519PublicKey.from_public_bytes(spelled[2:]) if spelled[:2] == _ED25519 and len(spelled) == 34 else None
