"""Mistakes in a scenario, told at their place: for validators that look at a whole."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError


def mistake(message: str, where: tuple[str | int, ...], value: Any) -> InitErrorDetails:
    """A validation error at a place of its own."""
    return InitErrorDetails(type=PydanticCustomError("mistake", "{text}", {"text": message}), loc=where, input=value)


def closest(word: str, known: Iterable[str]) -> str:
    """What may have been meant: the closest of *known*, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(names) or 'none'}"
