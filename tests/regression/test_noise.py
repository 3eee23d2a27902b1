"""The noise of simulated machines: as bad as it says, and the same for everybody who draws it."""

from __future__ import annotations

import numpy as np
import pytest

from gates.regression import noise

# Standard deviation of one pair's estimate by its core, in percent, as drawn when the models were fitted to published powers.
SPREAD = {"N1": 1.2, "N2": 0.8, "N3": 0.6, "N4": 2.9, "N5": 1.8, "N6": 1.8, "N7": 2.3}


@pytest.mark.parametrize("model", noise.MODELS)
def test_pairs_are_as_noisy_as_the_model_says(model: str) -> None:
    """A simulation on machines that have quietly become better would prove nothing."""
    drawn = noise.pairs(noise.MODELS[model], (20_000,), np.random.default_rng(1))
    core = 1.4826 * float(np.median(np.abs(drawn - np.median(drawn))))
    assert 100 * core == pytest.approx(SPREAD[model], abs=0.15)


@pytest.mark.parametrize("model", noise.MODELS)
def test_without_a_change_neither_side_is_favoured(model: str) -> None:
    """The middle of many pairs is 0, within what chance leaves."""
    drawn = noise.pairs(noise.MODELS[model], (40_000,), np.random.default_rng(2))
    assert abs(float(np.median(drawn))) < 5 * float(drawn.std()) / 200


def test_a_jobs_shift_cancels_in_pairs_and_not_between_jobs() -> None:
    """10 % from job to job is what a stored number sees; a pair shares its job."""
    generator = np.random.default_rng(3)
    jobs = np.median(noise.processes(noise.MODELS["N6"], (2000, 1, 5, 20), generator), axis=(1, 2, 3))
    assert float(np.log(jobs).std()) == pytest.approx(0.10, abs=0.01)
    assert float(noise.pairs(noise.MODELS["N6"], (2000,), generator).std()) < 0.025


def test_benchmarks_of_one_job_share_its_shift() -> None:
    """A slower machine is slower for all of them, which is what makes whole gates fail at once."""
    both = np.log(np.median(noise.processes(noise.MODELS["N6"], (500, 2, 5, 20), np.random.default_rng(4)), axis=(2, 3)))
    assert float(np.corrcoef(both.T)[0, 1]) > 0.95


def test_neighbouring_timings_share_the_machines_pace() -> None:
    """Drift and two speeds last longer than a timing: neighbours are alike, the far ends of a row are not."""
    for model, nearest in (("N2", 0.80), ("N3", 0.85)):
        rows = noise.timings(noise.MODELS[model], (3000, 1, 200), np.random.default_rng(5))[:, 0]
        beside, apart = (float(np.corrcoef(rows[:, 0], rows[:, place])[0, 1]) for place in (1, 199))
        assert beside > nearest
        assert abs(apart) < 0.1


def test_a_machine_of_two_speeds_is_slow_for_as_long_as_it_says() -> None:
    """15 % slower for 30 % of the time, at the start of a pair and later."""
    rows = noise.timings(noise.MODELS["N3"], (4000, 1, 150), np.random.default_rng(7))[:, 0]
    slow = (rows > 0.07).mean(axis=0)
    assert slow[0] == pytest.approx(0.3, abs=0.03)
    assert slow[100:].mean() == pytest.approx(0.3, abs=0.02)


def test_the_same_seed_draws_the_same_noise() -> None:
    """A part that was lost can be made again."""
    one, other = (noise.pairs(noise.MODELS["N7"], (50,), np.random.default_rng(6)) for _ in range(2))
    assert (one == other).all()
