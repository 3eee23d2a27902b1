"""Who a node or a client is: an Ed25519 key pair under the DID that the public key itself spells (did:key).

A did:key is `did:key:z` and the base58btc text of the multicodec prefix 0xed01 and the 32 bytes of the public key
(W3C CCG, "The did:key Method"). Documents are signed as `kind newline DAG-CBOR`, so that a signature for one kind of document
is never good for another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gates.node.cid import encode
from gates.node.errors import Refusal

SEED_BYTES = 32
SIGNATURE_BYTES = 64
_PREFIX = "did:key:z"
_MULTICODEC = b"\xed\x01"
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)}
_LONGEST_DID = len(_PREFIX) + 60
_KNOWN_KEYS = 4096
_MOST_GOOD = 16_384


class DamagedKey(Exception):
    """The file that should hold a node's key holds something else."""


class _Good:
    """The signatures that this process made or checked last: a receipt is checked when it comes and when it is anchored."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}
        self._lock = Lock()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def add(self, digest: bytes) -> None:
        """Remember one, and forget the oldest beyond `_MOST_GOOD`."""
        with self._lock:
            self._known[digest] = None
            if len(self._known) > _MOST_GOOD:
                del self._known[next(iter(self._known))]

    @staticmethod
    def digest(did: str, message: bytes, signature: bytes) -> bytes:
        """What stands for all three; the first two have one length each, so nothing else has the same bytes."""
        return hashlib.sha256(signature + hashlib.sha256(did.encode()).digest() + message).digest()


_GOOD = _Good()


class Identity:
    """An Ed25519 key pair and its DID."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.did = did_of(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity of the 32 bytes *seed*. Raises ValueError for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path) -> Identity:
        """The identity kept at *path*; a new one is made, synced and kept when nothing is there.

        Raises DamagedKey when the file holds no key, and OSError.
        """
        if not path.exists():
            _keep(path, os.urandom(SEED_BYTES))
        seed = path.read_bytes()
        if len(seed) != SEED_BYTES:
            raise DamagedKey(
                f"{path}: expected a key of {SEED_BYTES} bytes, found {len(seed)}; restore it from a backup, since another key"
                " is another node"
            )
        return cls.from_seed(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature (RFC 8032) of *message*."""
        signature = self._key.sign(message)
        _GOOD.add(_Good.digest(self.did, message, signature))
        return signature


def did_of(public_key: bytes) -> str:
    """The did:key of an Ed25519 public key of 32 bytes."""
    return _PREFIX + _base58(_MULTICODEC + public_key)


def is_did(text: str) -> bool:
    """Whether *text* is the did:key of an Ed25519 key, in its one spelling."""
    return _public_key(text) is not None


def verify(did: str, message: bytes, signature: bytes) -> bool:
    """Whether *signature* is that of *message* by the key of *did*; False for a DID that spells no key."""
    key = _public_key(did)
    if key is None or len(signature) != SIGNATURE_BYTES:
        return False
    digest = _Good.digest(did, message, signature)
    if digest in _GOOD:
        return True
    with suppress(InvalidSignature):
        key.verify(signature, message)
        _GOOD.add(digest)
        return True
    return False


def signed(kind: str, document: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
    """*document* with the member `signature` (bytes) over *kind* and all its other members."""
    return {**document, "signature": identity.sign(_message(kind, document))}


def valid(kind: str, document: Mapping[str, Any], did: str) -> bool:
    """Whether *document* carries the signature of *did* over *kind* and all its other members."""
    signature = document.get("signature")
    if not isinstance(signature, bytes):
        return False
    try:
        return verify(did, _message(kind, document), signature)
    except (Refusal, ValueError, TypeError):  # what has no canonical form carries no signature
        return False


def _message(kind: str, document: Mapping[str, Any]) -> bytes:
    return kind.encode() + b"\n" + encode({name: value for name, value in document.items() if name != "signature"})


def _keep(path: Path, seed: bytes) -> None:
    """Write *seed* so that a crash leaves the whole file or none."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, seed)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@lru_cache(maxsize=_KNOWN_KEYS)
def _public_key(did: str) -> Ed25519PublicKey | None:
    """The key that *did* spells; None for what is no did:key of Ed25519, or another spelling of one."""
    if len(did) > _LONGEST_DID or not did.startswith(_PREFIX):
        return None
    decoded = _from_base58(did[len(_PREFIX) :])
    if decoded is None or not decoded.startswith(_MULTICODEC) or len(decoded) != len(_MULTICODEC) + SEED_BYTES:
        return None
    raw = decoded[len(_MULTICODEC) :]
    return Ed25519PublicKey.from_public_bytes(raw) if did_of(raw) == did else None


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def _from_base58(text: str) -> bytes | None:
    number = 0
    for letter in text:
        if letter not in _DIGITS:
            return None
        number = number * 58 + _DIGITS[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
