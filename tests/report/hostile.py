"""A report in which every text that a person, a target or a test could have written has been replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gates import codec
from gates.model import Report

_OURS = frozenset({
    "unit", "rule", "comparator", "severity", "outcome", "outcomes", "disposition", "execution", "verdict", "level", "type",
    "metric", "started", "created", "kind",
})  # fmt: skip


def rewritten(report: Report, change: Callable[[str], str]) -> Report:
    """*report* with every free text changed; enumerations, times and the names of gates' own fields stay."""
    plain = _walk(codec.to_json(report), change, "")
    built: Report = codec.from_json(Report, plain)
    return built


def _walk(value: Any, change: Callable[[str], str], key: str) -> Any:
    if isinstance(value, dict):
        return {
            name: item if name in _OURS and not isinstance(item, dict) else _walk(item, change, name)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_walk(item, change, key) for item in value]
    return change(value) if isinstance(value, str) else value
