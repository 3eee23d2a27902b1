"""Everything that is known of one criterion."""

from __future__ import annotations

import pytest
import realistic_report as realistic

from gates.errors import Exit, UsageError
from gates.model import Comparator, Comparison, Report, Unit
from gates.report import explain


def explained(report: Report, name: str) -> str:
    """The explanation with its white space made single."""
    return " ".join(explain.render(report, *explain.find(report, name), ".readiness/run").split())


def test_a_criterion_is_explained_from_value_to_next_step(report: Report) -> None:
    """Value, interval and its method, samples, limit as written, margin, place in the spec, evidence, history, command."""
    text = explained(report, "primitives:ratio/breaker.call.closed")
    for part in (
        "primitives:ratio/breaker.call.closed ✗ fail", "value 3.81x", "interval 3.62x to 4.02x at 95 % by bootstrap",
        "n 30; to pass, at least 1", "limit below 3x", "margin 1.02x beyond the limit (34 % of it)", "phase the whole run",
        "spec workflows/readiness.yaml:14", "evidence .readiness/run/primitives/evidence/benchmarks.json 47 KiB sha256 ",
        "last value 3.52x in 20261122T210000Z-91d07e1-0a0b", "last red 2026-11-21 03:00 UTC",
        "run again ./noxw gates run --profile standard --set 'gates.burst.limit=60 s' --only primitives",
    ):  # fmt: skip
        assert part in text


def test_a_criterion_over_many_is_explained_for_each(report: Report) -> None:
    """`/*` shows every measurement, and one of them can be asked for by its own name."""
    text = explained(report, "accounts:mana.imbalance/*")
    assert all(f"0 of 400 (mana.imbalance/{node})" in text for node in ("node-a", "node-b", "node-c"))
    assert explained(report, "accounts:mana.imbalance/node-b") == text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("primitive:ratio/x", "did you mean primitives?"),
        ("primitives:ratio/retry.sucess", "did you mean primitives:ratio/retry.success?"),
        ("unit", "there are unit:failed, unit:passed"),
        ("unit:", "there are unit:failed, unit:passed"),
        ("", "there are unit, primitives"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(report: Report, name: str, hint: str) -> None:
    """A usage error that names what was probably meant, or what there is."""
    with pytest.raises(UsageError) as caught:
        explain.find(report, name)
    assert caught.value.code is Exit.USAGE
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("comparator", "limit", "spread", "said"),
    [
        (Comparator.BELOW, 10, (4, 6), "4 to the limit (40 % of it)"),
        (Comparator.AT_MOST, 0, (2, 2), "2 beyond the limit"),
        (Comparator.AT_LEAST, 10, (8, 12), "2 beyond the limit (20 % of it)"),
        (Comparator.ABOVE, 10, (15, 20), "5 to the limit (50 % of it)"),
    ],
)
def test_the_margin_counts_from_the_unfavourable_end(
    comparator: Comparator, limit: float, spread: tuple[float, float], said: str
) -> None:
    """Not from the value: an interval that reaches over the limit is beyond it."""
    measured = realistic.measured("m", 5, Unit.COUNT, 10, spread)
    assert explain.margin(measured, Comparison(comparator, limit)) == said
