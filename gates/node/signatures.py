"""Signed requests: the part of HTTP Message Signatures (RFC 9421) that nodes and clients use, and Content-Digest (RFC 9530).

A request is signed with Ed25519 over its method, path, body digest and, where it has them, its query, its idempotency key and
the node that it is meant for. `keyid` is the signer's did:key, so no key has to be fetched to check it:

    Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:
    Signature-Input: sig=("@method" "@path" "content-digest");created=1700000000;keyid="did:key:z6Mk…";nonce="…";alg="ed25519"
    Signature: sig=:…:
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gates.node.errors import Refusal
from gates.node.identity import Identity, is_did, verify

OLDEST = 60
"""A signature is good for so many seconds."""
AHEAD = 5
"""So many seconds the signer's clock may be ahead."""
MOST_NONCES = 200_000
RECIPIENT = "icn-recipient"
_ALWAYS = ("@method", "@path", "content-digest")
_WHERE_GIVEN = ("idempotency-key", RECIPIENT)
_LONGEST_INPUT = 2048
_INPUT = re.compile(
    r'([a-z*][a-z0-9_.*-]*)=(\(((?:"[a-z0-9@_-]+"(?: |(?=\))))*)\)((?:;[a-z]+=(?:\d{1,15}|"[\x20\x21\x23-\x5b\x5d-\x7e]*"))*))'
)
_SIGNATURE = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]{86}==):")
_PARAMETER = re.compile(r';([a-z]+)=(?:(\d+)|"([^"]*)")')
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{8,100}")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Message:
    """What of a request is signed: path and query as sent, the query without its question mark, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def values(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Name and value of each component. Raises Refusal with 401 for one that the request does not have."""
        return [(name, self._value(name)) for name in names]

    def _value(self, name: str) -> str:
        derived = {"@method": self.method, "@path": self.path, "@query": f"?{self.query}"}
        found = derived.get(name) if name.startswith("@") else self.headers.get(name)
        if found is None:
            raise unsigned(f"{name[:40]!r} is signed, and the request has no such component that could be checked")
        return found.strip()


@dataclass(frozen=True, slots=True)
class Proof:
    """Who signed a request, once that is proved.

    Attributes:
        did: the signer.
        nonce: what the signer never uses twice.
        created: seconds since the epoch.
    """

    did: str
    nonce: str
    created: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers of a signed request say, before anything is proved."""

    components: tuple[str, ...]
    parameters: str
    proof: Proof
    signature: bytes


def unsigned(text: str) -> Refusal:
    """The refusal of a request whose signature is not good."""
    return Refusal(401, f"signature: {text}")


def digest(body: bytes) -> str:
    """The Content-Digest of *body*."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def base(components: Sequence[tuple[str, str]], parameters: str) -> bytes:
    """The signature base of RFC 9421, section 2.5: what is really signed."""
    lines = [*(f'"{name}": {value}' for name, value in components), f'"@signature-params": {parameters}']
    return "\n".join(lines).encode()


def sign(identity: Identity, message: Message, *, now: int, nonce: str) -> dict[str, str]:
    """The headers that sign *message* at *now* (milliseconds); *nonce* is 8 to 100 visible characters, never used twice."""
    headers = {"content-digest": digest(message.body)}
    whole = Message(message.method, message.path, message.query, {**message.headers, **headers}, message.body)
    components = required(message)
    names = " ".join(f'"{name}"' for name in components)
    parameters = f'({names});created={now // 1000};keyid="{identity.did}";nonce="{nonce}";alg="ed25519"'
    signature = base64.b64encode(identity.sign(base(whole.values(components), parameters))).decode()
    return {**headers, "signature-input": f"sig={parameters}", "signature": f"sig=:{signature}:"}


def required(message: Message) -> tuple[str, ...]:
    """The components that must be signed."""
    query = ("@query",) if message.query else ()
    return (*_ALWAYS, *query, *(name for name in _WHERE_GIVEN if name in message.headers))


def claim(headers: Headers) -> Claim | None:
    """What the headers claim; None for a request that is not signed. Raises Refusal with 401."""
    given, signature = headers.get("signature-input"), headers.get("signature")
    if given is None and signature is None:
        return None
    found = _INPUT.fullmatch(given.strip()) if given is not None and len(given) <= _LONGEST_INPUT else None
    signed = _SIGNATURE.fullmatch(signature.strip()) if signature is not None else None
    if found is None or signed is None or found[1] != signed[1]:
        raise unsigned('expected Signature-Input: sig=("@method" "@path" "content-digest");… and Signature: sig=:…:')
    components = tuple(re.findall(r'"([^"]+)"', found[3]))
    if len(set(components)) != len(components):
        raise unsigned("a component is there twice")
    try:
        raw = base64.b64decode(signed[2], validate=True)
    except binascii.Error:
        raise unsigned("expected base64") from None
    return Claim(components, found[2], _proof(found[4]), raw)


def check(claimed: Claim, message: Message, *, now: int, since: int = 0) -> Proof:
    """The proof that *message* is what the key of its DID signed.

    Raises Refusal with 401 when it is not, when it is too old at *now*, or from before *since* (milliseconds): a node that has
    just started does not remember the nonces that were used before.
    """
    proof = claimed.proof
    missing = [name for name in required(message) if name not in claimed.components]
    if missing:
        raise unsigned(f"{missing[0]} must be signed, too")
    if not now // 1000 - OLDEST <= proof.created <= now // 1000 + AHEAD:
        raise unsigned(f"created at {proof.created}, which is not within the last {OLDEST} s of this node's clock; sign again")
    if proof.created < since // 1000:
        raise unsigned("older than this node's start; sign again")
    if message.headers.get("content-digest") != digest(message.body):
        raise unsigned("Content-Digest is not the sha-256 of the body")
    if not verify(proof.did, base(message.values(claimed.components), claimed.parameters), claimed.signature):
        raise unsigned(f"not that of {proof.did} over this request")
    return proof


def _proof(parameters: str) -> Proof:
    values = {name: digits or text for name, digits, text in _PARAMETER.findall(parameters)}
    if values.get("alg", "ed25519") != "ed25519":
        raise unsigned("expected alg ed25519")
    did, nonce, created = values.get("keyid", ""), values.get("nonce", ""), values.get("created", "")
    if not is_did(did):
        raise unsigned("expected a did:key of Ed25519 as keyid")
    if not _NONCE.fullmatch(nonce) or not created.isdigit():
        raise unsigned("expected created in seconds, and a nonce of 8 to 100 visible characters")
    return Proof(did, nonce, int(created))


class Nonces:
    """The nonces that were used, for at least as long as a signature is good.

    There are two generations; a nonce is remembered for at least one whole generation. When one is full, nobody signed is
    admitted until the next: forgetting early would let a request be sent twice.
    """

    def __init__(self, *, most: int = MOST_NONCES) -> None:
        self._most = most
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._turned = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def use(self, proof: Proof, now: int) -> None:
        """Take the nonce of *proof* at *now* (milliseconds). Raises Refusal with 401 when it was used, 503 when none fits."""
        key = hashlib.blake2b(f"{proof.did} {proof.nonce}".encode(), digest_size=16).digest()
        self._turn(now)
        if key in self._young or key in self._old:
            raise unsigned("this nonce was used already; sign again")
        if len(self._young) >= self._most:
            raise Refusal(503, "too many signed requests are remembered", retry_after=self._left(now))
        self._young.add(key)

    def _left(self, now: int) -> float:
        return max(1.0, (self._turned - now) / 1000 + OLDEST + AHEAD)

    def _turn(self, now: int) -> None:
        if now - self._turned > (OLDEST + AHEAD) * 1000:
            self._old = self._young if now - self._turned <= 2 * (OLDEST + AHEAD) * 1000 else set()
            self._young, self._turned = set(), now
