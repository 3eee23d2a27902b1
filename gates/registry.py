"""Plug-ins by entry-point group, ours registered the same way as a user's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from gates.errors import GatesError

KINDS = "gates.kinds"
TARGETS = "gates.targets"
FAULTS = "gates.faults"
FLOWS = "gates.flows"
INVARIANTS = "gates.invariants"
DRILLS = "gates.drills"
SIGNALS = "gates.signals"
COMMANDS = "gates.commands"


@cache
def plugins(group: str) -> Mapping[str, Any]:
    """The plug-ins of *group* by name, loaded, and instantiated when they are classes. Raises GatesError when one can't be."""
    return {point.name: _load(point) for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def _load(point: Any) -> Any:
    try:
        loaded = point.load()
    except Exception as error:
        raise GatesError(
            f"the plug-in {point.name!r} of {point.group} can't be loaded: {error}",
            location=point.value,
            hint="install what it needs, or remove the distribution that registers it",
        ) from error
    return loaded() if isinstance(loaded, type) else loaded
