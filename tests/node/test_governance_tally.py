"""Votes, tallies and outcomes, against a slow and obvious count."""

from __future__ import annotations

import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gates.node import tally
from gates.node.tally import MILLION, OPTIONS, Tally, Vote

PEOPLE = [f"did:{name}" for name in "abcdefg"]
DEADLINE = 100
VOTES = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(OPTIONS), st.integers(0, 2 * DEADLINE)), max_size=20).map(
    lambda rows: [Vote(f"cid{number:02}", "p", *row, "n") for number, row in enumerate(rows)]
)
MEMBERS = st.frozensets(st.sampled_from(PEOPLE))


@given(VOTES, MEMBERS, st.randoms(use_true_random=False))
def test_one_vote_of_each_member_counts_whatever_the_order(
    votes: list[Vote], members: frozenset[str], shuffler: random.Random
) -> None:
    """For each member the timely vote with the lowest CID counts, and nothing else, in any order of arrival."""
    expected = []
    for member in members:
        own = [vote for vote in votes if vote.voter == member and vote.at < DEADLINE]
        if own:
            expected.append(min(own, key=lambda vote: vote.cid))
    shuffled = list(votes)
    shuffler.shuffle(shuffled)
    counted = tally.counting(shuffled, members, DEADLINE)
    assert sorted(vote.cid for vote in counted) == sorted(vote.cid for vote in expected)
    sums = dict.fromkeys(OPTIONS, 0)
    for vote in expected:
        sums[vote.option] += 1
    assert tally.tally(counted) == Tally(sums["Yes"], sums["No"], sums["Abstain"])


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 60), st.integers(1, MILLION))
def test_the_outcome_is_that_of_exact_fractions(yes: int, no: int, abstain: int, quorum: int, threshold: int) -> None:
    """Accepted means: quorum met, and the share of yes, abstentions in the whole, reaches the threshold exactly."""
    voters = yes + no + abstain
    accepted = voters >= quorum and Fraction(yes, voters) >= Fraction(threshold, MILLION)
    assert tally.outcome(Tally(yes, no, abstain), quorum, threshold) == ("Accepted" if accepted else "Rejected")


def test_nobody_voted_is_a_rejection() -> None:
    """Without any vote nothing is accepted, whatever quorum a block names."""
    assert tally.outcome(Tally(0, 0, 0), 0, 1) == "Rejected"


def test_a_threshold_that_is_just_reached_is_reached() -> None:
    """Half of the votes is enough for a threshold of a half, and one more abstention is one too many."""
    assert tally.outcome(Tally(2, 1, 1), 4, MILLION // 2) == "Accepted"
    assert tally.outcome(Tally(2, 1, 2), 4, MILLION // 2) == "Rejected"
