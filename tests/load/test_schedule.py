"""The schedule is one seeded array: the same for everybody, with weights that hold in every phase."""

from __future__ import annotations

import pytest

from gates.load.plan import LoadPlan
from gates.load.schedule import schedule


def plan(**more: object) -> LoadPlan:
    """100/s for 16 s of two flows, 8 to 2."""
    given: dict[str, object] = {"mix": {"a": 8, "b": 2}, "flows": {"a": {}, "b": {}}, "rate": 100.0, "seconds": 16.0, **more}
    return LoadPlan("", "", warmup=3.0, connections=1, timeout=1.0, **given)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_schedule_and_another_gives_another() -> None:
    """The hash in the report says which one it was."""
    first = schedule(plan(), ["x", "y"], seed=1)
    assert first.hash == schedule(plan(), ["x", "y"], seed=1).hash
    assert first.hash != schedule(plan(), ["x", "y"], seed=2).hash
    assert first.hash != schedule(plan(rate=101.0), ["x", "y"], seed=1).hash


def test_arrivals_come_at_the_rate_from_the_first_moment() -> None:
    """1,600 arrivals 10 ms apart; none is lost to rounding."""
    times = schedule(plan(), ["x"], seed=1).intended
    assert len(times) == 1600
    assert times[0] == 0
    assert times[-1] == pytest.approx(15.99)
    assert len(schedule(plan(rate=0.1 * 3, seconds=10.0), ["x"], seed=1).intended) == 3


def test_weights_hold_in_every_stretch_and_the_order_within_is_shuffled() -> None:
    """Of any five arrivals from a multiple of five, four are `a`; so each phase has the samples that were planned."""
    flow = schedule(plan(), ["x"], seed=1).flow
    assert {int(flow[at : at + 5].sum()) for at in range(0, 1600, 5)} == {1}
    assert len({tuple(flow[at : at + 5]) for at in range(0, 1600, 5)}) == 5


def test_endpoints_take_turns_and_a_named_one_is_kept() -> None:
    """Flow `b` goes to y alone."""
    arrivals = schedule(plan(flows={"a": {}, "b": {"endpoint": "y"}}), ["x", "y"], seed=1)
    assert set(arrivals.endpoint[arrivals.flow == 1].tolist()) == {1}
    assert set(arrivals.endpoint[arrivals.flow == 0].tolist()) == {0, 1}
