"""The drills that are installed, and those of them that fit a spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gates.drills.tree import fits
from gates.errors import GatesError
from gates.model import Drill


def flattened(plugins: Mapping[str, Iterable[Drill]]) -> tuple[Drill, ...]:
    """All drills of the entry points of `gates.drills`, each of which holds several.

    Raises GatesError for a name given twice.
    """
    found: dict[str, Drill] = {}
    for name, drills in plugins.items():
        for drill in drills:
            if drill.name in found:
                raise GatesError(f"two drills are called {drill.name!r}", location=f"gates.drills: {name}")
            found[drill.name] = drill
    return tuple(found.values())


def fitting(drills: Sequence[Drill], spec: Mapping[str, Any], root: Path, wanted: Sequence[str] = ()) -> tuple[Drill, ...]:
    """Those whose gate and criteria *spec* has and whose files lie below *root*; with *wanted*, these, which must all fit.

    Raises GatesError that names the drill.
    """
    known = {drill.name: drill for drill in drills}
    for name in wanted:
        if name not in known:
            raise GatesError(f"there is no drill {name!r}", hint=f"installed are: {', '.join(sorted(known))}")
        base = known[name].base
        if not fits(base, spec, root):
            files = f", and the files {', '.join(base.copies)}" if base.copies else ""
            needs = f"the gate {base.gate!r} with {', '.join(base.criteria)}{files}"
            raise GatesError(f"the drill {name!r} needs {needs}, which are not there")
    chosen = [known[name] for name in dict.fromkeys(wanted)] if wanted else drills
    return tuple(drill for drill in chosen if fits(drill.base, spec, root))
