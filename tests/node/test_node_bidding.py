"""Which bids count, and which one is taken."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.node.bidding import Bid, Experience, Need, eligible, make_sheet, price, read_needs, read_sheet, select
from gates.node.cid import decode, encode
from gates.node.errors import Refusal
from gates.node.identity import Identity

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
NEED = Need("job", 10, "Echo", 100)
HAS = {"cpu_cores": 2, "memory_mb": 100, "storage_mb": 100}

names = st.sampled_from(["a", "b", "c", "d", "stranger"])
amounts = st.dictionaries(st.sampled_from(["cpu_cores", "memory_mb"]), st.integers(0, 3), max_size=2)
needs_of = st.lists(
    st.builds(Need, st.sampled_from(["j1", "j2", "j3"]), st.integers(1, 5), st.just("Echo"), st.just(1), amounts),
    min_size=1, max_size=3, unique_by=lambda need: need.job,
)  # fmt: skip
bids_of = st.lists(
    st.builds(Bid, st.sampled_from(["j1", "j2", "j3", "other"]), names, st.integers(-1, 7), st.integers(0, 2), amounts),
    max_size=12,
)
MEMBERS = {"a", "b", "c", "d"}


@given(needs_of, bids_of, st.dictionaries(names, st.integers(0, 10)), st.randoms())
def test_no_ineligible_bid_is_ever_taken_and_the_order_of_the_bids_decides_nothing(
    needs: list[Need], bids: list[Bid], known: dict[str, int], shuffled: random.Random
) -> None:
    """Who is taken is eligible; a job goes without only when nobody is; bids in another order give the same executors."""
    chosen = select(needs, bids, MEMBERS, lambda did: known.get(did, 10))
    for need in needs:
        able = [bid for bid in bids if eligible(need, bid, MEMBERS)]
        assert (need.job in chosen) == bool(able)
        if able:
            taken = chosen[need.job]
            assert taken in able
            assert taken.job == need.job
            assert taken.executor in MEMBERS
            assert 1 <= taken.price <= need.cost
            assert taken.price == min(bid.price for bid in able)
            assert all(taken.resources.get(name, 0) >= amount for name, amount in need.resources.items())
    others = list(bids)
    shuffled.shuffle(others)
    again = select(needs, others, MEMBERS, lambda did: known.get(did, 10))
    assert {job: (bid.executor, bid.price, bid.load) for job, bid in chosen.items()} == {
        job: (bid.executor, bid.price, bid.load) for job, bid in again.items()
    }


@pytest.mark.parametrize(
    ("best", "other"),
    [
        (Bid("job", "z", 1, 9, HAS), Bid("job", "a", 2, 0, HAS)),
        (Bid("job", "z", 2, 9, HAS), Bid("job", "bad", 2, 0, HAS)),
        (Bid("job", "z", 2, 0, HAS), Bid("job", "a", 2, 1, HAS)),
        (Bid("job", "a", 2, 1, HAS), Bid("job", "z", 2, 1, HAS)),
    ],
    ids=["price", "experience", "load", "did"],
)
def test_price_decides_then_experience_then_load_then_the_did(best: Bid, other: Bid) -> None:
    """Each of the four decides when those before it are equal."""
    taken = select([NEED], [other, best], {"a", "z", "bad"}, lambda did: 3 if did == "bad" else 10)
    assert taken == {"job": best}


def test_who_was_lost_with_a_job_gets_it_again_only_when_nobody_else_bids() -> None:
    """However cheap it is; other jobs are not kept from it."""
    cheap, dear = Bid("job", "a", 1, 0, HAS), Bid("job", "b", 2, 5, HAS)
    assert select([NEED], [cheap, dear], {"a", "b"}, lambda _: 10, {"job": {"a"}}) == {"job": dear}
    assert select([NEED], [cheap, dear], {"a", "b"}, lambda _: 10, {"other": {"a"}}) == {"job": cheap}
    assert select([NEED], [cheap], {"a", "b"}, lambda _: 10, {"job": {"a"}}) == {"job": cheap}


def test_a_batch_is_shared_out_among_equal_bidders() -> None:
    """What this batch already gives a bidder counts as its load."""
    needs = [Need(f"j{number}", 10, "Echo", 1) for number in range(6)]
    bids = [Bid(need.job, did, 1, 0) for need in needs for did in ("a", "b", "c")]
    taken = [bid.executor for bid in select(needs, bids, {"a", "b", "c"}, lambda _: 10).values()]
    assert sorted(taken) == ["a", "a", "b", "b", "c", "c"]


def test_a_bidder_leaves_out_what_it_cannot_do() -> None:
    """No bid above the cost, for an unknown kind, or without the resources."""
    needs = [NEED, Need("dear", 1, "Cpu", 1_000_000), Need("odd", 9, "Wasm", 1), Need("big", 9, "Echo", 1, {"memory_mb": 101})]
    sheet = make_sheet(ALICE, "n", needs, load=3, resources=HAS)
    assert read_sheet(decode(encode(sheet)), ALICE.did, "n") == [Bid("job", ALICE.did, 1, 3, HAS)]


@pytest.mark.parametrize(
    "change",
    [
        {"load": 0},
        {"bids": [["job", 1], ["j2", 1]]},
        {"nonce": "other"},
        {"bidder": BOB.did},
        {"signature": b"0" * 64},
        {"x": 1},
    ],
)
def test_a_sheet_that_was_changed_or_answers_another_request_is_refused(change: dict[str, object]) -> None:
    """The signature is over everything on the sheet, and the nonce ties it to one request."""
    sheet = make_sheet(ALICE, "n", [NEED], load=3, resources=HAS)
    with pytest.raises(Refusal) as refused:
        read_sheet(sheet | change, ALICE.did, "n")
    assert refused.value.code == 422


def test_a_sheet_of_another_bidder_is_refused() -> None:
    """A peer can only bid for itself."""
    with pytest.raises(Refusal):
        read_sheet(make_sheet(BOB, "n", [NEED], load=0, resources=HAS), ALICE.did, "n")


@pytest.mark.parametrize(
    "value", [[], {}, [["a", 1, "Echo", 1]], [["a", True, "Echo", 1, {}]], [["a", 1, "Echo", -1, {}]], [3]]
)
def test_needs_of_another_shape_are_refused(value: object) -> None:
    """What a peer sends is checked like what a client sends."""
    with pytest.raises(Refusal) as refused:
        read_needs(value)
    assert refused.value.code == 422


def test_the_price_follows_the_work() -> None:
    """A small Echo costs 1; a Cpu job 1 and one more for every 100,000 iterations; an unknown kind has no price."""
    assert price(NEED) == 1
    assert price(Need("job", 10, "Cpu", 1_000_000)) == 11
    assert price(Need("job", 10, "Wasm", 1)) is None


def test_experience_sinks_with_failures_and_forgives_them_with_time() -> None:
    """One failure among many counts for some seconds, many for longer, and after hours they are forgotten."""
    experience = Experience()
    assert experience.reputation("a", 0) == 10
    experience.add("a", 0, good=100, bad=1)
    assert experience.reputation("a", 9_999) == 5
    assert experience.reputation("a", 10_000) == 10
    experience.add("a", 10_000, bad=100)
    assert experience.reputation("a", 60_000) < 7
    assert experience.reputation("a", 12 * 3_600_000) == 10
