"""A pytest plug-in for a benchmark process (`-p gates.kinds.calibration`), driven by the kind `benchmarks`.

It keeps the process on one CPU, spreads the calibration runs evenly among the other benchmarks (the first is first and the last
is last), and writes down what was collected, so that a benchmark that never ran is missed. It is told by the environment:
GATES_BENCHMARKS is the file to write, GATES_CALIBRATION the name of the calibration benchmark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gates.regression.naming import is_benchmark, name_of

if TYPE_CHECKING:
    import pytest

T = TypeVar("T")
COLLECTED = "GATES_BENCHMARKS"
CALIBRATION = "GATES_CALIBRATION"


def is_calibration(name: str, calibration: str) -> bool:
    """Whether *name* is the calibration benchmark or one of its parameters: `calibration[2]`."""
    return name.partition("[")[0] == calibration


def spread(calibrations: Sequence[T], others: Sequence[T]) -> list[T]:
    """All of both, *calibrations* as evenly among *others* as their numbers allow, with one at each end."""
    gaps = max(1, len(calibrations) - 1)
    order: list[T] = list(calibrations[:1])
    for gap in range(gaps):
        start, end = (len(others) * each // gaps for each in (gap, gap + 1))
        order += [*others[start:end], *calibrations[gap + 1 : gap + 2]]
    return order


def pytest_configure(config: pytest.Config) -> None:
    """Stay on one CPU where the system lets us: a move in the middle of a round is noise. Know the comparison's own mark."""
    config.addinivalue_line("markers", "unpinned: a benchmark that one CPU is not enough for")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the calibration runs around and among the benchmarks; write down what was found."""
    calibration = os.environ[CALIBRATION]
    named = [(name_of(item), item) for item in items if is_benchmark(item)]
    control = [pair for pair in named if is_calibration(pair[0], calibration)]
    ordered = spread(control, [pair for pair in named if not is_calibration(pair[0], calibration)])
    items[:] = [item for _, item in ordered]
    Path(os.environ[COLLECTED]).write_text(json.dumps([name for name, _ in ordered]), encoding="utf-8")
