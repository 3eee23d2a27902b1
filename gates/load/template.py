"""Filling `{name}` in texts: taken apart once, filled in for each arrival."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

BUILT_IN = ("n", "key", "uuid", "slot", "endpoint")
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"  # a bare name, or one of a feed: `users.name`
_PLACE = re.compile(r"\{\{(" + _NAME + r")\}\}|\{(" + _NAME + r")\}")
_PATH_SAFE = "/:@!$&'()*+,;=~-._"

Values = Mapping[str, str]
Escape = Callable[[str], str]


class UnfillableError(Exception):
    """A value that can't stand where the text wants it, such as a line break in a header."""


def has_bytes(value: str) -> bool:
    """Whether *value* can be sent at all: JSON can spell one half of a surrogate pair, which no encoding has."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def names_in(text: str) -> list[str]:
    """The names that *text* wants filled in."""
    return [match[2] for match in _PLACE.finditer(text) if match[2]]


def plain(value: str) -> str:
    """As it is."""
    return value


def in_path(value: str) -> str:
    """Percent-encoded for a path."""
    return quote(value, safe=_PATH_SAFE)


def in_json(value: str) -> str:
    """Escaped for the inside of a JSON string."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def in_header(value: str) -> str:
    """As it is; a line break would start another header. Raises UnfillableError."""
    if "\r" in value or "\n" in value:
        raise UnfillableError("a line break in a header")
    return value


class Template:
    """A text with places: *constants* are filled in at once, the *wanted* names for each arrival."""

    __slots__ = ("_parts", "static", "wanted")

    def __init__(self, text: str, constants: Values, escape: Escape = plain) -> None:
        parts: list[str | tuple[str, Escape]] = []
        end = 0
        for match in _PLACE.finditer(text):
            literal, name = match[1], match[2]
            parts.append(text[end : match.start()])
            end = match.end()
            if literal:
                parts.append("{" + literal + "}")
            elif name in constants:
                parts.append(escape(constants[name]))
            else:
                parts.append((name, escape))
        parts.append(text[end:])
        self.wanted = frozenset(part[0] for part in parts if isinstance(part, tuple))
        self.static = None if self.wanted else "".join(str(part) for part in parts)
        self._parts = parts

    def render(self, values: Values) -> str:
        """The text with *values* filled in."""
        if self.static is not None:
            return self.static
        return "".join([part if isinstance(part, str) else part[1](values[part[0]]) for part in self._parts])


def compact(value: Any) -> str:
    """A JSON text without white space; its places can be filled in with `in_json`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
