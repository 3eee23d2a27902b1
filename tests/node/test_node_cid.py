"""Content identifiers and DAG-CBOR: known vectors, an independent implementation, and the strictness of what comes in."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from typing import Any

import dag_cbor
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multiformats import CID

from gates.node.cid import DAG_CBOR, RAW, Cid, cid_of, decode, encode, link, links, parse
from gates.node.errors import Refusal

HELLO_WORLD = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
VECTORS = [
    (b"", RAW, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (b"hello world", RAW, HELLO_WORLD),
    (bytes.fromhex("a0"), DAG_CBOR, "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"),
    (bytes.fromhex("f6"), DAG_CBOR, "bafyreifqwkmiw256ojf2zws6tzjeonw6bpd5vza4i22ccpcq4hjv2ts7cm"),
    (bytes.fromhex("a16568656c6c6f65776f726c64"), DAG_CBOR, "bafyreidykglsfhoixmivffc5uwhcgshx4j465xwqntbmu43nb2dzqwfvae"),
]
NO_DAG_CBOR = {
    "an indefinite map": "bf616101ff",
    "an indefinite list": "9f01ff",
    "an indefinite string": "7f6161ff",
    "a key twice": "a2616101616102",
    "keys out of order": "a2616201616102",
    "a longer key before a shorter": "a262616101616202",
    "NaN": "fb7ff8000000000000",
    "infinity": "fb7ff0000000000000",
    "a half float": "f93c00",
    "a single float": "fa3f800000",
    "an integer longer than need be": "1801",
    "a length longer than need be": "780161",
    "bytes behind the end": "0101",
    "nothing": "",
    "a cut string": "6461",
    "a tag of dates": "c100",
    "a big number": "c249010000000000000000",
    "undefined": "f7",
    "a key that is no string": "a10101",
    "half a character": "61ff",
    "a list longer than the bytes": "9b7fffffffffffffff",
    "bytes longer than the bytes": "5b7fffffffffffffff",
    "a link without its prefix": "d82a5824" + bytes(parse(HELLO_WORLD)).hex(),
    "a link written with a longer tag": "d9002a582500" + bytes(parse(HELLO_WORLD)).hex(),
    "bytes that read as a CID": "5824" + bytes(parse(HELLO_WORLD)).hex(),
    "depth without end": "81" * 100_000 + "00",
}
SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=24)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: math.copysign(1, number) > 0 or number != 0)
DOCUMENTS = st.recursive(
    SCALARS | FLOATS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@pytest.mark.parametrize(("data", "codec", "expected"), VECTORS)
def test_known_content_has_its_known_cid(data: bytes, codec: int, expected: str) -> None:
    """The CIDs that other implementations of the specification give for the same bytes."""
    assert cid_of(data, codec) == expected
    assert parse(expected) == Cid(codec, hashlib.sha256(data).digest())


@given(data=st.binary(max_size=64), codec=st.sampled_from([("raw", RAW), ("dag-cbor", DAG_CBOR)]))
def test_an_independent_library_gives_the_same_cid(data: bytes, codec: tuple[str, int]) -> None:
    """The text and the binary form agree with the package multiformats."""
    independent = CID("base32", 1, codec[0], ("sha2-256", hashlib.sha256(data).digest()))
    assert str(independent) == cid_of(data, codec[1])
    assert bytes(independent) == bytes(parse(cid_of(data, codec[1])))


@pytest.mark.end_to_end
@given(document=DOCUMENTS)
@example(document={"b": 1, "aa": 2, "a": 3})
def test_an_independent_library_encodes_the_same_bytes(document: Any) -> None:
    """The canonical encoding agrees with the package dag-cbor, and comes back as the same document."""
    data = encode(document)
    assert data == dag_cbor.encode(document)
    assert decode(data) == document


def test_a_link_is_the_link_of_an_independent_library() -> None:
    """The binary form of a CID is written under tag 42, as the specification says, and found again."""
    data = encode({"parent": link(HELLO_WORLD), "more": [link(VECTORS[2][2]), link(HELLO_WORLD)]})
    assert data == dag_cbor.encode(
        {"parent": CID.decode(HELLO_WORLD), "more": [CID.decode(VECTORS[2][2]), CID.decode(HELLO_WORLD)]}
    )
    assert sorted(links(decode(data))) == sorted([HELLO_WORLD, VECTORS[2][2]])


@pytest.mark.parametrize("written", NO_DAG_CBOR.values(), ids=NO_DAG_CBOR)
def test_what_is_not_the_one_encoding_is_refused(written: str) -> None:
    """A document has one encoding, and so one CID: any other is refused with 422."""
    with pytest.raises(Refusal) as caught:
        decode(bytes.fromhex(written))
    assert caught.value.code == 422


@given(data=st.binary(max_size=40))
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    """No bytes at all decode to a document with another encoding, or raise anything but a refusal."""
    with suppress(Refusal):
        assert encode(decode(data)) == data


@pytest.mark.parametrize(
    "document",
    [float("nan"), 2**64, {1: 2}, (1, 2), {"a", "b"}, "\ud800", object()],
    ids=["nan", "2**64", "number as key", "tuple", "set", "half a character", "object"],
)
def test_what_has_no_encoding_is_refused(document: Any) -> None:
    """What DAG-CBOR can't write is refused with 422 and not written as something else."""
    with pytest.raises(Refusal) as caught:
        encode(document)
    assert caught.value.code == 422


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "bafybeih",
        HELLO_WORLD.upper(),
        HELLO_WORLD[:-1],
        HELLO_WORLD + "a",
        HELLO_WORLD[:-1] + "f",  # bits behind the last byte
        "z" + HELLO_WORLD[1:],
        "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
        "b" + "7" * 58,
        "bé" + HELLO_WORLD[2:],
        "b" + "a" * 5000,
        HELLO_WORLD.replace("b", "1"),
        HELLO_WORLD + "\n",
        str(Cid(RAW, b"short")),
        None,
        7,
        ["x"],
    ],
    ids=lambda text: repr(text)[:24],
)
def test_what_is_no_cid_is_refused(text: object) -> None:
    """Another version, base, hash, case or length is no CID to this node, and no second way to write one."""
    with pytest.raises(Refusal) as caught:
        parse(text)
    assert caught.value.code == 400


@given(text=st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=1, max_size=70).map("b".__add__))
def test_whatever_parses_is_written_in_one_way(text: str) -> None:
    """Nothing that parses is written differently by the node itself."""
    with suppress(Refusal):
        assert str(parse(text)) == text


def test_a_cid_of_another_codec_parses() -> None:
    """Jobs may name content that this node stores no blocks of, such as files of other systems."""
    text = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    assert parse(text).codec == 0x70
    assert bytes(parse(text)) == bytes(CID.decode(text))
