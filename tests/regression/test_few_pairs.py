"""Benchmarks that were measured in a handful of pairs: they decide nothing, and the result can still be written."""

from __future__ import annotations

import json
import math

import pytest

from gates import codec
from gates.regression import stages
from gates.regression.comparison import measurement
from gates.regression.values import Design, Pair


@pytest.mark.parametrize("count", [2, 3, 4, 5, 11])
def test_few_pairs_have_an_interval_that_can_be_written(count: int) -> None:
    """So few ranks bound nothing; JSON has no number without end."""
    pairs = [Pair(index, index + 1, "base", {"a": (0.001 * index, 0.0)}) for index in range(count)]
    first = stages.first(pairs, Design())
    for each in (first.estimates["a"], stages.second(pairs, first)["a"]):
        assert math.isfinite(each.low), each
        assert math.isfinite(each.high), each
        assert each.high > 0.05
        json.dumps(codec.to_json(measurement(each)), allow_nan=False)
