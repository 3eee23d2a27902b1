"""The limit that a criterion of the real spec has, so that a defect can be made just worse than it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates.errors import BadFileError
from gates.model import Tree, Unit
from gates.quantity import parse

_LEVELS = ("quick", "standard", "full")
_UPPER, _LOWER = ("below", "at_most"), ("above", "at_least")


def limit_of(tree: Tree, gate: str, criterion: str, unit: Unit, *, lower: bool = False) -> float:
    """The upper, or the *lower*, limit of *criterion* in *unit*, for the tree's profile. Raises BadFileError where none is."""
    found = tree.gate(gate)["criteria"][criterion]
    for comparison in found if isinstance(found, list) else [found]:
        for word in _LOWER if lower else _UPPER:
            if word in comparison:
                return parse(_chosen(comparison[word], tree.profile), unit)
    raise BadFileError(f"{gate}:{criterion} has no {'lower' if lower else 'upper'} limit that a drill could break")


def _chosen(value: Any, profile: str) -> Any:
    """The value of *profile* where one is given a profile, else that of the next below it, else the lowest."""
    if not isinstance(value, Mapping):
        return value
    below = _LEVELS[_LEVELS.index(profile) :: -1]
    return next(value[name] for name in (*below, *_LEVELS) if name in value)
