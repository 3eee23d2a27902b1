"""Checks of a response, taken apart once: status, headers, texts and JSON values, and what is captured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from gates.load.failure import Failure
from gates.load.flows import Check, ValueCheck
from gates.load.template import Template, Values, has_bytes

MISSING = object()
Headers = Mapping[str, str]
Found = tuple[Failure, str]
Condition = Callable[[Any, Values], str]
_HEADER = "header:"
_OPTIONAL = "?"
_SHOWN = 80


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


# Python would take NaN, which is within any bounds, and Infinity
_decoder = json.JSONDecoder(parse_constant=_no_json)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


class Checker:
    """What a step's response must be.

    Attributes:
        wants_headers, needs_body: whether it looks at them at all.
        wanted: the names that are filled in for each arrival.
        repeats: whether the same response is right again whatever the arrival: nothing is filled in, nothing captured.
    """

    __slots__ = (
        "_captures", "_contains", "_headers", "_json", "_last_right", "_parses", "_status",
        "needs_body", "repeats", "wants_headers", "wanted",
    )  # fmt: skip

    def __init__(self, check: Check, captures: Mapping[str, str], constants: Values) -> None:
        status = check.status
        self._status = None if status is None else frozenset([status] if isinstance(status, int) else status)
        texts = [check.body_contains] if isinstance(check.body_contains, str) else check.body_contains
        self._contains = [Template(text, constants) for text in texts]
        self._json = [(_steps(path), path, _condition(wanted, constants)) for path, wanted in check.json_values.items()]
        self._headers = [(name.lower(), name, _condition(wanted, constants)) for name, wanted in check.headers.items()]
        self._captures = [(name, place.rstrip(_OPTIONAL), place.endswith(_OPTIONAL)) for name, place in captures.items()]
        self._parses = bool(self._json) or any(not place.startswith(_HEADER) for place in captures.values())
        self.wants_headers = bool(self._headers) or any(place.startswith(_HEADER) for place in captures.values())
        self.needs_body = bool(self._contains) or self._parses
        self.wanted = frozenset().union(*_wanted(check, constants))
        self.repeats = not (self.wanted or self._captures)
        self._last_right: bytes | None = None

    def look(self, code: int, headers: Headers, body: bytes, values: dict[str, str]) -> Found | None:
        """What is wrong with a response, or None; captured values are put into *values*."""
        if code not in self._status if self._status is not None else not 200 <= code < 300:
            self._keep_of_refusal(headers, values)
            return Failure.STATUS, f"expected status {self._expected_status()}, got {code} {_short(body)}"
        if body == self._last_right:
            # the same bytes passed all these checks before, and nothing in them depends on the arrival
            return None
        found = self._look_at_headers(headers, values) if self._headers else None
        if found is None and (self.needs_body or self._captures):
            found = self._look_at_body(headers, body, values)
        if found is None and self.repeats and not self.wants_headers:
            self._last_right = body
        return found

    def _look_at_headers(self, headers: Headers, values: Values) -> Found | None:
        for name, shown, condition in self._headers:
            if problem := condition(headers.get(name, MISSING), values):
                return Failure.HEADER, f"header {shown}: {problem}"
        return None

    def _look_at_body(self, headers: Headers, body: bytes, values: dict[str, str]) -> Found | None:
        for template in self._contains:
            text = template.render(values)
            if text.encode() not in body:
                return Failure.BODY, f"expected a body with {text!r}, got {_short(body)}"
        if not self._parses:
            return self._capture(headers, None, values)
        try:
            document = _document(body)
        except (ValueError, RecursionError):
            return Failure.BODY, f"expected JSON, got {_short(body)}"
        for steps, path, condition in self._json:
            if problem := condition(_at(document, steps), values):
                return Failure.BODY, f"{path}: {problem} in {_short(body)}"
        return self._capture(headers, document, values) if self._captures else None

    def _keep_of_refusal(self, headers: Headers, values: dict[str, str]) -> None:
        """What a refused request may say of itself: optional captures from headers."""
        for name, place, optional in self._captures:
            if optional and place.startswith(_HEADER) and (found := headers.get(place[len(_HEADER) :].lower())) is not None:
                values[name] = found

    def _capture(self, headers: Headers, document: Any, values: dict[str, str]) -> Found | None:
        for name, place, optional in self._captures:
            from_header = place.startswith(_HEADER)
            found = headers.get(place[len(_HEADER) :].lower(), MISSING) if from_header else _at(document, _steps(place))
            if optional and (found is MISSING or found is None):
                continue
            if found is MISSING or isinstance(found, (dict, list)) or found is None:
                return (Failure.HEADER if from_header else Failure.BODY), f"nothing to capture at {place!r}"
            text = found if isinstance(found, str) else json.dumps(found)
            if not has_bytes(text):
                return Failure.BODY, f"what is at {place!r} can't be sent: half of a surrogate pair"
            values[name] = text
        return None

    def _expected_status(self) -> str:
        return " or ".join(str(code) for code in sorted(self._status)) if self._status else "2xx"


def _steps(path: str) -> tuple[str, ...]:
    """A dotted path or a JSON pointer as steps; none for an empty path, which is the whole body."""
    if not path:
        return ()
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    return tuple(path.split("."))


def _document(body: bytes) -> Any:
    """What *body* says, by the shortest way where it is plain UTF-8 without white space around it. Raises ValueError."""
    try:
        text = body.decode()
        document, end = _scan(text, 0)
    except (ValueError, StopIteration):
        return json.loads(body, parse_constant=_no_json)
    return document if end == len(text) else json.loads(body, parse_constant=_no_json)


def _at(document: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def _condition(wanted: Any, constants: Values) -> Condition:
    """A function from a value to what is wrong with it, empty when nothing is."""
    if not isinstance(wanted, ValueCheck):
        return _equals(wanted, constants)
    given = wanted.model_fields_set
    parts: list[Condition] = []
    if wanted.exists is False:
        return lambda value, _: "" if value is MISSING else f"expected nothing, got {_show(value)}"
    if "equals" in given:
        parts.append(_equals(wanted.equals, constants))
    if wanted.type:
        parts.append(_is_a(wanted.type))
    if wanted.matches is not None:
        parts.append(_matches(wanted.matches))
    if wanted.one_of is not None:
        parts.append(_one_of(wanted.one_of))
    if wanted.at_least is not None or wanted.at_most is not None:
        parts.append(_between(wanted.at_least, wanted.at_most))

    def look(value: Any, values: Values) -> str:
        if value is MISSING:
            return "expected a value, found none"
        for part in parts:
            if problem := part(value, values):
                return problem
        return ""

    return look


def _equals(wanted: Any, constants: Values) -> Condition:
    template = Template(wanted, constants) if isinstance(wanted, str) else None
    if template is None or template.static is not None:
        return _is(wanted if template is None else template.static)

    def look(value: Any, values: Values) -> str:
        right = template.render(values)
        # what was captured is text; a number that reads the same is the same
        shown = json.dumps(value) if isinstance(value, (int, float, bool)) else value
        return "" if shown == right else f"expected {_show(right)}, got {_show(value)}"

    return look


def _is(right: Any) -> Condition:
    def look(value: Any, _: Values) -> str:
        return "" if _same(value, right) else f"expected {_show(right)}, got {_show(value)}"

    return look


def _same(value: Any, right: Any) -> bool:
    """Whether both are the same in JSON, where 1 is not true, however deep they lie."""
    if value != right or isinstance(value, bool) != isinstance(right, bool):
        return False
    if isinstance(right, dict):
        return all(_same(value[key], each) for key, each in right.items())
    return not isinstance(right, (list, tuple)) or all(map(_same, value, right))


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _is_a(name: str) -> Condition:
    is_one = _TYPES[name]
    return lambda value, _: "" if is_one(value) else f"expected a value of type {name}, got {_show(value)}"


def _matches(pattern: str) -> Condition:
    search = re.compile(pattern).search
    return lambda value, _: (
        "" if isinstance(value, str) and search(value) else f"expected a text that matches {pattern!r}, got {_show(value)}"
    )


def _one_of(choices: tuple[Any, ...]) -> Condition:
    def look(value: Any, _: Values) -> str:
        right = any(_same(value, each) for each in choices)
        return "" if right else f"expected one of {_show(list(choices))}, got {_show(value)}"

    return look


def _between(low: float | None, high: float | None) -> Condition:
    def look(value: Any, _: Values) -> str:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return f"expected a number, got {_show(value)}"
        if low is not None and value < low:
            return f"expected at least {low:g}, got {_show(value)}"
        return f"expected at most {high:g}, got {_show(value)}" if high is not None and value > high else ""

    return look


def _wanted(check: Check, constants: Values) -> list[frozenset[str]]:
    conditions = [*check.json_values.values(), *check.headers.values()]
    values = [each.equals if isinstance(each, ValueCheck) else each for each in conditions]
    contains = [check.body_contains] if isinstance(check.body_contains, str) else check.body_contains
    return [Template(text, constants).wanted for text in (*values, *contains) if isinstance(text, str)]


def _show(value: Any) -> str:
    return "nothing" if value is MISSING else _cut(json.dumps(value, ensure_ascii=False, default=str))


def _short(body: bytes) -> str:
    return _cut(repr(body[: _SHOWN + 1].decode(errors="replace"))) if body else "an empty body"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
