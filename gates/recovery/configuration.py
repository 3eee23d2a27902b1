"""Checks of settings, all at construction: a wrong setting is never found out in the middle of an outage."""

from __future__ import annotations

INFINITY = float("inf")

MOST = 1e9
"""No number may be more: seconds are slept, which ends at 9.2e9, and counts are multiplied, which must stay finite."""

MOST_WHOLE = 2**63 - 1
"""No whole number may be more, so that each is a float as well."""


class ConfigurationError(ValueError):
    """A setting that makes no sense.

    Attributes:
        field: the owner and name of the setting, such as `CircuitBreakerConfig.failure_threshold`.
        value: what was given.
        allowed: the values that would be accepted, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(field, value, allowed)
        self.field = field
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.field} is {self.value!r}; allowed: {self.allowed}"


def number(field: str, value: object, low: float, high: float = INFINITY, *, above: bool = False) -> float:
    """*value* when it is a finite number in [*low*, *high*], or in (*low*, *high*] with *above*; else ConfigurationError."""
    most = min(high, MOST)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= most
    if not fits or (above and value == low):
        raise ConfigurationError(field, value, _range("a number", low, most, above))
    return float(value)  # type: ignore[arg-type]  # `fits` has shown that it is a number


def whole(field: str, value: object, low: int, high: float = INFINITY) -> int:
    """*value* when it is a whole number in [*low*, *high*]; else ConfigurationError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= min(high, MOST_WHOLE):
        most = MOST_WHOLE if isinstance(value, int) and value > MOST_WHOLE else high
        raise ConfigurationError(field, value, _range("a whole number", low, min(high, most), False))
    return value


def choice(field: str, value: object, among: tuple[str, ...]) -> str:
    """*value* when it is one of *among*; else ConfigurationError."""
    if not isinstance(value, str) or value not in among:
        raise ConfigurationError(field, value, "one of " + ", ".join(among))
    return value


def flag(field: str, value: object) -> bool:
    """*value* when it is True or False; else ConfigurationError."""
    if not isinstance(value, bool):
        raise ConfigurationError(field, value, "True or False")
    return value


def text(field: str, value: object) -> str:
    """*value* when it is a text; else ConfigurationError."""
    if not isinstance(value, str):
        raise ConfigurationError(field, value, "a text")
    return value


def callable_(field: str, value: object) -> None:
    """Raise ConfigurationError when *value* can't be called."""
    if not callable(value):
        raise ConfigurationError(field, value, "something callable")


def instance(field: str, value: object, of: type, allowed: str) -> None:
    """Raise ConfigurationError when *value* is no instance of *of*; *allowed* says in words what would do."""
    if not isinstance(value, of):
        raise ConfigurationError(field, value, allowed)


def _range(what: str, low: float, high: float, above: bool) -> str:
    lower = f"above {low:g}" if above else f"at least {low:g}"
    return f"{what} {lower}" if high == INFINITY else f"{what} {lower} and at most {high:g}"
