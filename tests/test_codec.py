"""Canonical JSON: strict on the way in, whole on the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates import codec
from gates.errors import BadFileError
from gates.model import Execution, GateResult, Interval, Line, Measurement, Series, Table, Unit

RESULT = GateResult(
    "sustained",
    Execution.COMPLETED,
    "2026-01-01T00:00:00Z",
    1.5,
    measurements=(Measurement("latency.p99", 0.04, Unit.SECONDS, 1300, Interval(0.03, 0.05, 0.95, "order"), "steady"),),
    exhibits=(Table("t", ("a",), (("1",),)), Series("s", Unit.SECONDS, (Line("p99", ((0.0, 1.0),)),))),
    expected={"ratio": ("retry", "breaker")},
)


def test_a_value_comes_back_as_it_went() -> None:
    """Reading inverts writing, unions and defaults included."""
    assert codec.loads(codec.dumps(RESULT), GateResult) == RESULT


def test_the_text_is_canonical() -> None:
    """The same value gives the same bytes, after a round trip too."""
    text = codec.dumps(RESULT)
    assert codec.dumps(codec.loads(text, GateResult)) == text


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"n":1300', '"n":"1300"', "measurements.0.n: expected int"),
        ('"n":1300', '"n":NaN', "NaN is not a number"),
        ('"value":0.04', '"value":1e999', "not a finite number"),
        ('"n":1300', '"m":1300', "measurements.0.m: unknown key"),
        ('"gate":"sustained",', "", "gate: missing"),
        ('"execution":"completed"', '"execution":"fine"', "expected one of completed"),
        ('"type":"table"', '"type":"picture"', "expected type to be one of"),
        ("{", "", "not valid JSON"),
        ('"n":1300', f'"n":1{"0" * 400}', "measurements.0.n: not a number that can be calculated with"),
        ('"value":0.04', f'"value":1{"0" * 400}', "measurements.0.value: not a number that can be calculated with"),
        ('"gate":"sustained"', '"gate":"\\ud800"', "surrogates not allowed"),
        ('"gate":"sustained"', '"gate":"\\uDEAD"', "surrogates not allowed"),
    ],
)
def test_what_has_not_its_shape_is_refused_with_its_path(old: str, new: str, why: str) -> None:
    """A wrong file is named by place, never half believed."""
    with pytest.raises(BadFileError, match=why):
        codec.loads(codec.dumps(RESULT).replace(old, new, 1), GateResult, location="result.json")


def test_a_character_written_as_a_pair_of_escapes_is_read() -> None:
    """Only half of a pair is refused."""
    text = codec.dumps(RESULT).replace('"gate":"sustained"', '"gate":"\\ud83d\\ude00"')
    assert codec.loads(text, GateResult).gate == "\U0001f600"


def test_a_number_that_is_not_finite_is_never_written() -> None:
    """No NaN in any of our files."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.dumps({"value": float("nan")})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A value that can't be written leaves the old file and nothing beside it."""
    path = tmp_path / "result.json"
    codec.write(path, RESULT)
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.write(path, {"value": float("inf")})
    assert codec.read(path, GateResult) == RESULT
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    """The message starts with the path."""
    with pytest.raises(BadFileError, match="is not there"):
        codec.read(tmp_path / "none.json", GateResult)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFileError, match="can't be read"):
        codec.read(tmp_path / "binary", GateResult)
