"""Signed requests: what a signature proves, and everything that must not pass for one."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.node.errors import Refusal
from gates.node.identity import Identity
from gates.node.signatures import Message, Nonces, Proof, base, check, claim, digest, sign

NOW = 1_700_000_000_000
ALICE, BOB = Identity.from_seed(bytes(32)), Identity.from_seed(b"\1" * 32)
PLAIN = Message("POST", "/mesh/submit", "", {"idempotency-key": "k-1"}, b'{"cost_mana":10}')


def signed(message: Message = PLAIN, *, by: Identity = ALICE, now: int = NOW, nonce: str = "nonce-01") -> Message:
    """*message* with the headers of its signature."""
    return replace(message, headers={**message.headers, **sign(by, message, now=now, nonce=nonce)})


def proved(message: Message, *, now: int = NOW, since: int = 0) -> Proof:
    """Who signed *message*."""
    claimed = claim(message.headers)
    assert claimed is not None
    return check(claimed, message, now=now, since=since)


def refused(message: Message, words: str, *, now: int = NOW, since: int = 0) -> None:
    """Assert that *message* is refused with 401, for a reason with *words* in it."""
    with pytest.raises(Refusal, match=words) as caught:
        proved(message, now=now, since=since)
    assert caught.value.code == 401


def changed(message: Message, header: str, before: str, after: str) -> Message:
    """*message* with a part of one header exchanged."""
    value = message.headers[header]
    assert before in value
    return replace(message, headers={**message.headers, header: value.replace(before, after)})


def test_a_signature_proves_its_signer() -> None:
    """What a request is signed with comes out again."""
    assert proved(signed()) == Proof(ALICE.did, "nonce-01", NOW // 1000)


def test_a_request_without_signature_claims_nothing() -> None:
    """Neither header: not signed. One of the two: a mistake."""
    assert claim({}) is None
    headers = signed().headers
    for name in ("signature", "signature-input"):
        with pytest.raises(Refusal, match="expected Signature-Input"):
            claim({other: value for other, value in headers.items() if other != name})


def test_the_example_of_the_standard_is_signed_byte_for_byte() -> None:
    """RFC 9421, B.2.6: Ed25519 is deterministic, so our base under the standard's key gives the standard's signature."""
    seed = base64.b64decode("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF")[-32:]
    names = ("date", "@method", "@path", "@authority", "content-type", "content-length")
    values = ("Tue, 20 Apr 2021 02:07:55 GMT", "POST", "/foo", "example.com", "application/json", "18")
    parameters = '("' + '" "'.join(names) + '");created=1618884473;keyid="test-key-ed25519"'
    signed_base = base(list(zip(names, values, strict=True)), parameters)
    signature = base64.b64encode(Identity.from_seed(seed).sign(signed_base)).decode()
    assert signature == "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="


def test_the_digest_is_that_of_the_standard() -> None:
    """RFC 9530, appendix B.1's body and digest."""
    assert digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    "altered",
    [
        replace(signed(), method="GET"),
        replace(signed(), path="/mesh/cancel"),
        changed(signed(), "idempotency-key", "k-1", "k-2"),
        changed(signed(), "signature-input", ALICE.did, BOB.did),
        changed(signed(), "signature-input", "nonce-01", "nonce-02"),
        changed(signed(), "signature-input", f"created={NOW // 1000}", f"created={NOW // 1000 + 1}"),
        changed(signed(replace(PLAIN, query="after=1")), "signature-input", "nonce-01", "nonce-03"),
        replace(signed(replace(PLAIN, query="after=1")), query="after=2"),
    ],
)
def test_what_was_altered_is_forged(altered: Message) -> None:
    """Another method, path, key, signer, nonce, time or query than the signed one is refused."""
    refused(altered, "not that of")


def test_another_body_is_refused_with_either_digest() -> None:
    """The old digest does not fit the body, and a new one does not fit the signature."""
    other = replace(signed(), body=b'{"cost_mana":99}')
    refused(other, "Content-Digest is not")
    refused(replace(other, headers={**other.headers, "content-digest": digest(other.body)}), "not that of")


def test_what_is_there_must_be_signed() -> None:
    """A query, an idempotency key or a recipient that were added afterwards are noticed."""
    bare = replace(PLAIN, headers={})
    refused(replace(signed(bare), query="all=1"), "@query must be signed")
    refused(replace(signed(bare), headers={**signed(bare).headers, "idempotency-key": "x"}), "idempotency-key must be")
    refused(replace(signed(bare), headers={**signed(bare).headers, "icn-recipient": BOB.did}), "icn-recipient must be")
    refused(changed(signed(bare), "signature-input", '"@path" ', ""), "@path must be signed")


@pytest.mark.parametrize("moment", [NOW + 61_000, NOW - 7_000])
def test_a_signature_is_good_for_a_minute(moment: int) -> None:
    """Neither later than a minute, nor before it was made."""
    proved(signed(), now=NOW + 59_000)
    refused(signed(), "sign again", now=moment)


def test_a_node_that_has_just_started_refuses_what_was_signed_before() -> None:
    """It may have carried it out before it was restarted, and no longer knows the nonce."""
    proved(signed(), since=NOW)
    refused(signed(), "older than this node's start", since=NOW + 1000)


@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        ("signature-input", ALICE.did, "did:web:example.com"),
        ("signature-input", ALICE.did, "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"),
        ("signature-input", ALICE.did, "did:key:z" + "1" * 90),
        ("signature-input", "ed25519", "hmac-sha256"),
        ("signature-input", "nonce-01", "short"),
        ("signature-input", ";created=1700000000", ""),
        ("signature-input", '"@method" ', '"@method" "@method" '),
        ("signature-input", '"@method" ', '"@method" "@authority" '),
        ("signature-input", '"@method" ', '"@method";req '),
        ("signature-input", "sig=", "other="),
        ("signature", "sig=:", "sig=:A"),
        ("signature", "sig=:", "sig="),
    ],
)
def test_what_is_no_signature_of_ours_is_refused(header: str, before: str, after: str) -> None:
    """Another kind of DID or key, another algorithm, parameters missing, components twice or unknown, no base64."""
    refused(changed(signed(), header, before, after), "signature")


@given(st.text(max_size=200), st.text(max_size=120))
def test_any_header_is_refused_or_claims_something(given_input: str, given_signature: str) -> None:
    """Nothing that a header may hold raises anything but a refusal."""
    with suppress(Refusal):
        assert claim({"signature-input": given_input, "signature": given_signature}) is not None


def test_a_nonce_is_used_once_for_as_long_as_its_signature_is_good() -> None:
    """Wherever in a generation it was used, it is remembered for 65 s, and much later it is forgotten."""
    for offset in (0, 1_000, 64_000, 65_000, 66_000, 100_000):
        nonces, proof = Nonces(), Proof(ALICE.did, "nonce-01", 0)
        nonces.use(Proof(BOB.did, "nonce-01", 0), NOW)
        nonces.use(proof, NOW + offset)
        for later in range(0, 65_001, 5_000):
            with pytest.raises(Refusal, match="used already"):
                nonces.use(proof, NOW + offset + later)
        nonces.use(Proof(ALICE.did, "nonce-02", 0), NOW + offset + 200_000)
        assert len(nonces) == 1


def test_full_nonces_admit_nobody_rather_than_forget() -> None:
    """503 with the seconds until there is room; nothing that was used becomes usable."""
    nonces = Nonces(most=2)
    for number in range(2):
        nonces.use(Proof(ALICE.did, f"nonce-{number}", 0), NOW)
    with pytest.raises(Refusal) as caught:
        nonces.use(Proof(ALICE.did, "nonce-9", 0), NOW + 5_000)
    assert (caught.value.code, caught.value.retry_after) == (503, 60.0)
    nonces.use(Proof(ALICE.did, "nonce-9", 0), NOW + 66_000)
    with pytest.raises(Refusal, match="used already"):
        nonces.use(Proof(ALICE.did, "nonce-1", 0), NOW + 66_000)
