"""The two stages: what is measured again, and what the judge makes of the estimates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.model import Comparator, Comparison, Outcome
from gates.pipeline.judge import LEVEL, compare
from gates.regression import stages
from gates.regression.values import Design, Estimate, Pair, Tolerance, logarithm

LIMIT = Comparison(Comparator.BELOW, 0.05, fail_beyond=0.02)
DESIGN = Design(metrics=50)


def pairs(count: int, spread: float = 0.01, seed: int = 3, **slowdowns: float) -> list[Pair]:
    """*count* pairs of benchmarks with these true slowdowns, and *spread* between pairs."""
    generator = np.random.default_rng(seed)
    drawn = {name: logarithm(true) + generator.normal(0, spread, count) for name, true in slowdowns.items()}
    logs = [{name: (float(each[index]),) * 8 for name, each in drawn.items()} for index in range(count)]
    return [Pair(index, index, "base", each) for index, each in enumerate(logs)]


def exactly(name: str, *values: float) -> list[Pair]:
    """A pair for each of the logarithms *values*."""
    return [Pair(index, index, "base", {name: (value,) * 8}) for index, value in enumerate(values)]


def outcome(estimate: Estimate, limit: Comparison = LIMIT) -> Outcome:
    """What the judge says of an estimate that has enough pairs."""
    return compare(limit, estimate.low, estimate.high)


def test_a_quiet_benchmark_without_a_change_is_done_after_stage_1() -> None:
    """Twelve pairs settle it: nothing is open, the judge passes it."""
    stage = stages.first(pairs(12, same=0.0), DESIGN)
    assert (stage.open, stage.pairs) == ((), 0)
    assert outcome(stage.estimates["same"]) is Outcome.PASS


def test_stage_1_fails_nothing_however_slow() -> None:
    """Twice as slow is a suspect and open; the estimate of stage 1 decides nothing by itself."""
    stage = stages.first(pairs(12, slow=1.0, same=0.0), DESIGN)
    assert stage.open == ("slow",)
    assert outcome(stage.estimates["slow"]) is Outcome.INCONCLUSIVE


def test_a_suspect_below_its_tolerance_does_not_pass_without_stage_2() -> None:
    """3 % slower, surely, and surely below 5 %: it is a suspect, so only fresh pairs may acquit it."""
    stage = stages.first(pairs(12, spread=0.001, slow=0.03), DESIGN)
    estimate = stages.second([], stage)["slow"]
    assert estimate.suspect
    assert outcome(estimate) is Outcome.INCONCLUSIVE
    assert outcome(estimate, replace(LIMIT, comparator=Comparator.AT_MOST)) is Outcome.INCONCLUSIVE
    assert "no fresh pairs" in estimate.reason


def test_a_benchmark_too_noisy_to_pass_is_measured_again() -> None:
    """Not suspected, and not surely below 5 % either: undecided is open."""
    stage = stages.first(pairs(12, spread=0.08, noisy=0.0), DESIGN)
    assert stage.open == ("noisy",)
    assert not stage.estimates["noisy"].suspect


def test_stage_2_rests_on_fresh_pairs_alone() -> None:
    """A benchmark that looked slow by chance in stage 1 and is not in thirty fresh pairs passes."""
    stage = stages.first(pairs(12, unlucky=0.10), DESIGN)
    estimate = stages.second(pairs(30, seed=2, unlucky=0.0), stage)["unlucky"]
    assert (estimate.stage, estimate.pairs) == (2, 30)
    assert abs(estimate.slowdown) < 0.01
    assert outcome(estimate) is Outcome.PASS


def test_a_real_slowdown_of_5_percent_fails_in_stage_2() -> None:
    """Suspected in stage 1, surely above 2 % in stage 2; what was not open keeps its estimate of stage 1."""
    stage = stages.first(pairs(12, slow=0.05, same=0.0), DESIGN)
    final = stages.second(pairs(30, seed=2, slow=0.05), stage)
    assert (outcome(final["slow"]), outcome(final["same"])) == (Outcome.FAIL, Outcome.PASS)
    assert final["same"] == stage.estimates["same"]


def test_a_failure_that_the_ranks_do_not_support_is_inconclusive() -> None:
    """The trimmed mean is surely above 2 % where a fifth of the pairs is far below: the interval reaches back to say so."""
    slow = stages.first(pairs(12, slow=0.05), DESIGN)
    mixed = exactly("slow", *np.linspace(0.045, 0.050, 24), *([-0.5] * 6))
    estimate = stages.second(mixed, slow)["slow"]
    assert not estimate.crosscheck
    assert outcome(estimate) is Outcome.INCONCLUSIVE
    assert "signed-rank" in estimate.reason


def test_a_pass_that_the_ranks_do_not_support_is_inconclusive() -> None:
    """The same on the other side: six of thirty pairs are twice as slow, and the trimmed mean does not see one of them."""
    slow = stages.first(pairs(12, slow=0.05), DESIGN)
    estimate = stages.second(exactly("slow", *np.linspace(-0.002, 0.002, 24), *([0.7] * 6)), slow)["slow"]
    assert (estimate.crosscheck, outcome(estimate)) == (False, Outcome.INCONCLUSIVE)


@pytest.mark.parametrize("slowdown", [0.0, 0.10])
def test_eleven_pairs_decide_nothing(slowdown: float) -> None:
    """In either stage: no pass in the first, no failure and no pass in the second."""
    stage = stages.first(pairs(11, slow=slowdown), DESIGN)
    assert stage.open == ("slow",)
    assert outcome(stage.estimates["slow"]) is Outcome.INCONCLUSIVE
    estimate = stages.second(pairs(11, seed=2, slow=slowdown), stage)["slow"]
    assert outcome(estimate) is Outcome.INCONCLUSIVE
    assert "11 valid pairs" in estimate.reason


def test_a_pair_over_which_the_clock_was_set_is_none() -> None:
    """Eleven sound pairs and one with a step are eleven."""
    *sound, last = pairs(12, same=0.0)
    stage = stages.first([*sound, replace(last, clock_step=-3600.0)], DESIGN)
    assert stage.estimates["same"].pairs == 11


def test_a_round_without_a_finite_time_is_no_pair() -> None:
    """Not a number is not a measurement, and must not become one in a median."""
    found = stages.samples([Pair(0, 0, "base", {"a": (0.0, float("nan"), 0.0)}), Pair(1, 1, "base", {"a": (0.0, 0.1)})], "a")
    assert found.tolist() == [0.05]


def test_a_benchmark_that_never_measured_is_missing_by_name() -> None:
    """It is in no estimate, and it is not forgotten."""
    broken = [replace(pair, failed={"gone": "ImportError"}) for pair in pairs(12, same=0.0)]
    stage = stages.first(broken, DESIGN)
    assert set(stage.estimates) == {"same"}
    assert "0 valid pairs" in stage.missing["gone"]


def test_the_control_is_no_benchmark() -> None:
    """It is in every pair, and neither judged nor counted into the family."""
    assert stages.measured(pairs(12, control=0.0, same=0.0)) == ("same",)


def test_the_family_is_as_large_as_the_suite() -> None:
    """Whoever forgets to say how many benchmarks there are gets the level for all of them."""
    names = {f"case_{index}": 0.0 for index in range(40)}
    assert stages.first(pairs(12, **names), Design()).design.metrics == 40


@given(st.integers(1, 2000), st.floats(0.001, 0.1), st.floats(1e-5, 0.01))
def test_the_levels_of_a_design_keep_within_the_family(metrics: int, suspect: float, family: float) -> None:
    """Suspects by chance that fail by chance, and unsuspected ones that do, are together no more than the family."""
    design = Design(suspect=suspect, family=family, metrics=metrics)
    assert metrics * (suspect * design.alpha2 + design.alpha_unsuspected) <= family * (1 + 1e-12)


def test_who_was_not_a_suspect_has_to_be_surer() -> None:
    """An open benchmark that stage 1 did not filter carries its share of the family's error alone."""
    stage = stages.first(pairs(12, spread=0.08, noisy=0.0), DESIGN)
    estimate = stages.second(pairs(30, noisy=0.0, seed=2), stage)["noisy"]
    assert estimate.level == pytest.approx(1 - DESIGN.alpha_unsuspected - DESIGN.upper)
    assert DESIGN.alpha_unsuspected < DESIGN.alpha2 / 100


def test_noisy_benchmarks_get_more_fresh_pairs_up_to_a_limit() -> None:
    """Thirty where pairs agree within 1 %, sixty where they don't within 4 %; sixteen and forty when the design says so."""
    sizes = [stages.size(spread, DESIGN, Tolerance()) for spread in (0.0, 0.01, 0.02, 0.04)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (30, 60)
    assert stages.size(0.05, Design(first=16, second=40, most=40), Tolerance()) == 40


@pytest.mark.parametrize("true", [0.0, 0.10])
def test_an_estimate_that_is_doubted_decides_nothing(true: float) -> None:
    """Neither a pass nor a failure outlives a control that is not sound; estimate and reason are still told."""
    stage = stages.first(pairs(12, case=true), DESIGN)
    estimate = stages.second(pairs(30, seed=2, case=true), stage)["case"]
    assert outcome(estimate) is not Outcome.INCONCLUSIVE
    doubted = stages.doubted(estimate, Tolerance(), "the control moved")
    assert outcome(doubted) is Outcome.INCONCLUSIVE
    assert (doubted.slowdown, doubted.reason) == (estimate.slowdown, "the control moved")


def test_a_long_stage_2_ends_early_for_whoever_surely_passes() -> None:
    """Both were noisy enough for sixty fresh pairs; after thirty, one is plainly as fast as before and the other is not."""
    stage = stages.first(pairs(12, spread=0.08, same=0.0, slow=0.06), DESIGN)
    assert (stage.open, stage.pairs) == (("same", "slow"), 60)
    left, more = stages.remaining(pairs(30, seed=2, same=0.0, slow=0.06), stage)
    assert (left, more) == (("slow",), 30)


def test_nobody_is_failed_at_the_early_look() -> None:
    """Surely 10 % slower after thirty of sixty pairs: the rest is measured, since two such looks would double the error."""
    stage = stages.first(pairs(12, spread=0.08, slow=0.1), DESIGN)
    assert stages.remaining(pairs(30, seed=2, slow=0.1), stage) == (("slow",), 30)


def test_a_stage_2_of_few_pairs_has_no_early_look() -> None:
    """A quiet benchmark had all its fresh pairs with the fewest."""
    stage = stages.first(pairs(12, slow=0.1), DESIGN)
    assert stages.remaining(pairs(30, seed=2, slow=0.1), stage) == ((), 0)


ANY = st.lists(st.floats(-1, 1), min_size=2, max_size=20)


@settings(deadline=None)
@given(ANY, st.floats(0, 0.2), st.floats(0.001, 0.2), st.integers(1, 100))
def test_no_estimate_of_stage_1_can_fail_by_construction(values: list[float], margin: float, gap: float, metrics: int) -> None:
    """Whatever was measured and is tolerated: the judge never fails it, an open one never passes, the form is sound."""
    tolerance = Tolerance(margin + gap, margin)
    stage = stages.first(exactly("any", *values), Design(metrics=metrics), {"any": tolerance})
    estimate = stage.estimates["any"]
    said = outcome(estimate, Comparison(Comparator.BELOW, tolerance.below, fail_beyond=tolerance.fail_above))
    assert said is not Outcome.FAIL
    assert not (stage.open and said is Outcome.PASS)
    assert estimate.low <= estimate.slowdown <= estimate.high
    assert estimate.level >= LEVEL


def test_an_interval_holds_at_95_percent_even_for_one_benchmark() -> None:
    """The family's error on one benchmark alone would be looser than the judge accepts."""
    stage = stages.first(pairs(12, slow=0.1), Design(metrics=1))
    assert stages.second(pairs(30, seed=2, slow=0.1), stage)["slow"].level >= LEVEL


@pytest.mark.parametrize(("below", "fail_above"), [(0.05, 0.06), (0.0, 0.0), (0.05, -0.01)])
def test_margins_the_wrong_way_round_are_refused(below: float, fail_above: float) -> None:
    """A benchmark could pass and fail at once."""
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance(below, fail_above)


@pytest.mark.parametrize("sizes", [{"first": 11}, {"second": 11}, {"second": 40, "most": 30}])
def test_a_design_of_too_few_pairs_is_refused(sizes: dict[str, int]) -> None:
    """Nothing could ever pass."""
    with pytest.raises(ValueError, match="pairs"):
        Design(**sizes)
