"""The limit that a criterion of the real spec has, so that a defect can be made just worse than it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates.errors import BadFileError
from gates.model import Tree, Unit
from gates.quantity import parse

_UPPER, _LOWER = ("below", "at_most"), ("above", "at_least")


def limit_of(tree: Tree, gate: str, criterion: str, unit: Unit, *, lower: bool = False) -> float:
    """The upper, or the *lower*, limit of *criterion* in *unit* (profile quick). Raises BadFileError when it has none."""
    found = tree.gate(gate)["criteria"][criterion]
    for comparison in found if isinstance(found, list) else [found]:
        for word in _LOWER if lower else _UPPER:
            if word in comparison:
                return parse(_quick(comparison[word]), unit)
    raise BadFileError(f"{gate}:{criterion} has no {'lower' if lower else 'upper'} limit that a drill could break")


def _quick(value: Any) -> Any:
    """The value of the profile quick, where one is given a profile; else the lowest."""
    if isinstance(value, Mapping):
        return next(value[name] for name in ("quick", "standard", "full") if name in value)
    return value
