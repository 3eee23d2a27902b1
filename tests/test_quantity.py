"""Numbers with units, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.model import Unit
from gates.quantity import parse, show


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("250 ms", Unit.SECONDS, 0.25),
        ("20min", Unit.SECONDS, 1200),
        ("0", Unit.SECONDS, 0),
        (0, Unit.RATIO, 0),
        ("0.1 %", Unit.RATIO, 0.001),
        ("5 %", Unit.RATIO, 0.05),
        ("50/s", Unit.RATE, 50),
        ("120 /min", Unit.RATE, 2),
        ("64 MiB", Unit.BYTES, 64 * 1024**2),
        (200, Unit.COUNT, 200),
        ("1.5x", Unit.FACTOR, 1.5),
        (3, Unit.FACTOR, 3),
    ],
)
def test_a_number_is_read_in_its_unit(text: object, unit: Unit, value: float) -> None:
    """What people write becomes base units."""
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        ("250", Unit.SECONDS, "a unit is needed"),
        ("250 apples", Unit.SECONDS, "unknown unit"),
        ("250 ms", Unit.RATIO, "another kind"),
        (True, Unit.COUNT, "expected a number"),
        (None, Unit.COUNT, "expected a number"),
        ("nan", Unit.COUNT, "expected a number"),
        ("1e999 s", Unit.SECONDS, "finite"),
        ("", Unit.COUNT, "expected a number"),
    ],
)
def test_what_is_no_such_number_is_refused_with_an_example(text: object, unit: Unit, why: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=why):
        parse(text, unit)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, Unit.SECONDS, "250 ms"),
        (0.0, Unit.SECONDS, "0 s"),
        (1.5e-7, Unit.SECONDS, "150 ns"),
        (90, Unit.SECONDS, "90 s"),
        (1200, Unit.SECONDS, "20 min"),
        (0.0002, Unit.RATIO, "0.02 %"),
        (1204, Unit.COUNT, "1,204"),
        (64 * 1024**2, Unit.BYTES, "64 MiB"),
        (50, Unit.RATE, "50/s"),
        (2.345, Unit.FACTOR, "2.35x"),
    ],
)
def test_a_number_is_shown_in_the_unit_that_reads_best(value: float, unit: Unit, text: str) -> None:
    """The report's numbers are short."""
    assert show(value, unit) == text


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(list(Unit)))
def test_every_finite_number_can_be_shown(value: float, unit: Unit) -> None:
    """No number breaks the report."""
    assert show(value, unit)
