"""Keys, DIDs and signatures."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.node.identity import DamagedKey, Identity, did_of, is_did, signed, valid, verify

# RFC 8032 section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_the_rfc() -> None:
    """The vector of RFC 8032 comes out as it is written there."""
    identity = Identity.from_seed(SEED)
    assert identity.did == did_of(PUBLIC)
    assert identity.sign(b"\x72") == SIGNATURE
    assert verify(identity.did, b"\x72", SIGNATURE)


def test_a_did_is_that_of_the_method_s_document() -> None:
    """The example DID of the did:key document spells the public key that it names."""
    key = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")
    assert did_of(key) == "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    assert is_did(did_of(key))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key:z",
        "did:icn:node-a",
        "did:web:example.org",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2do",  # a digit is missing
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2do0",  # no base58 digit
        "did:key:z16MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",  # a leading zero
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",  # secp256k1
        "did:key:z" + "6" * 10_000,
    ],
)
def test_what_spells_no_ed25519_key_is_no_did_of_ours(text: str) -> None:
    """Other methods, other curves, other spellings and nonsense are refused, and quickly."""
    assert not is_did(text)
    assert not verify(text, b"", bytes(64))


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_a_did_and_back(seed: bytes) -> None:
    """Whatever the key, its DID is known as one."""
    assert is_did(Identity.from_seed(seed).did)


def test_a_document_is_good_for_its_kind_its_signer_and_its_content_alone() -> None:
    """Another kind, signer, member or signature, or none, is not valid."""
    identity, other = Identity.from_seed(SEED), Identity.from_seed(bytes(32))
    document = signed("icn/vote", {"option": "Yes", "n": 1}, identity)
    assert valid("icn/vote", document, identity.did)
    assert not valid("icn/receipt", document, identity.did)
    assert not valid("icn/vote", document, other.did)
    assert not valid("icn/vote", {**document, "option": "No"}, identity.did)
    assert not valid("icn/vote", {**document, "more": 1}, identity.did)
    assert not valid("icn/vote", {**document, "signature": bytes(64)}, identity.did)
    assert not valid("icn/vote", {**document, "signature": "text"}, identity.did)
    assert not valid("icn/vote", {"option": "Yes", "n": 1}, identity.did)
    assert not valid("icn/vote", {**document, "object": object()}, identity.did)


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """The second load is the same identity, and nobody else can read the file."""
    path = tmp_path / "node.key"
    assert Identity.load(path).did == Identity.load(path).did
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


def test_a_damaged_key_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    """A short file is named with what to do; a new key would be another node without its mana."""
    path = tmp_path / "node.key"
    path.write_bytes(b"short")
    with pytest.raises(DamagedKey, match=r"node\.key: expected a key of 32 bytes, found 5; restore it"):
        Identity.load(path)
    assert path.read_bytes() == b"short"


def test_a_good_signature_that_is_known_is_good_for_nothing_else() -> None:
    """What was signed or checked here is not checked again; another message, signer or signature still is."""
    one, other = Identity.from_seed(bytes(32)), Identity.from_seed(bytes([1]) * 32)
    signature = one.sign(b"message")
    assert verify(one.did, b"message", signature)
    assert verify(one.did, b"message", signature)
    assert not verify(one.did, b"messagf", signature)
    assert not verify(other.did, b"message", signature)
    assert not verify(one.did, b"message", other.sign(b"message"))
