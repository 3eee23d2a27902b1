"""Numbers with units, as people write and read them: `250 ms`, `5 %`, `50/s`, `64 MiB`.

Inside the project every number is in a base unit of `gates.model.Unit`; this module is the only place that converts.
"""

from __future__ import annotations

import math
import re

from gates.model import Unit

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_RATES = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}
_SUFFIXES: dict[str, tuple[float, Unit]] = {
    **{suffix: (factor, Unit.SECONDS) for suffix, factor in _SECONDS.items()},
    **{suffix: (factor, Unit.BYTES) for suffix, factor in _BYTES.items()},
    **{suffix: (factor, Unit.RATE) for suffix, factor in _RATES.items()},
    "%": (0.01, Unit.RATIO),
    "x": (1.0, Unit.FACTOR),
}
_PATTERN = re.compile(r"([+-]?(?:\d+(?:_\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s]*)")
EXAMPLES = {
    Unit.SECONDS: "250 ms, 15 s, 20 min",
    Unit.RATIO: "5 %, 0.1 %",
    Unit.RATE: "50/s, 120/min",
    Unit.BYTES: "64 MiB, 10 MB",
    Unit.COUNT: "0, 200",
    Unit.FACTOR: "3, 1.5x",
}


def parse(value: object, unit: Unit) -> float:
    """The number in *value* in the base unit *unit*.

    Raises ValueError when it is no number, has no unit where one is needed (0 needs none), has another unit, or is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a number such as {EXAMPLES[unit]}")
    match = _PATTERN.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"expected a number such as {EXAMPLES[unit]}")
    number, suffix = float(match[1].replace("_", "")), match[2]
    factor = _factor(number, suffix, unit)
    result = number * factor if factor != 0.01 else number / 100
    if not math.isfinite(result):
        raise ValueError(f"expected a finite number such as {EXAMPLES[unit]}")
    return result


def _factor(number: float, suffix: str, unit: Unit) -> float:
    if not suffix:
        if unit in (Unit.COUNT, Unit.FACTOR) or number == 0:
            return 1.0
        raise ValueError(f"a unit is needed, such as {EXAMPLES[unit]}")
    if suffix not in _SUFFIXES:
        raise ValueError(f"unknown unit {suffix!r}; expected something such as {EXAMPLES[unit]}")
    factor, found = _SUFFIXES[suffix]
    if found is not unit:
        raise ValueError(f"{suffix!r} is a unit of another kind; expected something such as {EXAMPLES[unit]}")
    return factor


def show(value: float, unit: Unit) -> str:
    """*value*, given in the base unit *unit*, for people: `250 ms`, `0.02 %`, `1,204`."""
    match unit:
        case Unit.SECONDS:
            return _scaled(
                value, (("d", 86400.0), ("h", 3600.0), ("min", 120.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
            )
        case Unit.BYTES:
            return _scaled(value, (("GiB", 1024.0**3), ("MiB", 1024.0**2), ("KiB", 1024.0), ("B", 1.0)))
        case Unit.RATIO:
            return f"{_digits(value * 100)} %"
        case Unit.RATE:
            return f"{_digits(value)}/s"
        case Unit.FACTOR:
            return f"{_digits(value)}x"
        case Unit.COUNT:
            return _digits(value)


def _scaled(value: float, scale: tuple[tuple[str, float], ...]) -> str:
    if value == 0:
        return f"0 {scale[-4 if len(scale) > 4 else -1][0]}"
    for suffix, size in scale:
        if abs(value) >= size * 0.9995:
            return f"{_digits(value / (60.0 if suffix == 'min' else size))} {suffix}"
    return f"{_digits(value / scale[-1][1])} {scale[-1][0]}"


def _digits(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
