"""The registry of leftovers as faults use it; it lives below all rooms, since a target and the pipeline need it too."""

from __future__ import annotations

from gates.leftovers import Leftover, LeftoverError, add, clean, entries, held, undo, unique

__all__ = ["Leftover", "LeftoverError", "add", "clean", "entries", "held", "undo", "unique"]
