"""`--base REF` of `gates run` and `gates plan`: every gate that compares with a base compares with this one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gates.errors import UsageError


def against(file: str, base: str | None, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """*overrides*, and one for each gate of the spec *file* that compares, when a *base* is given.

    Raises UsageError when no gate compares with anything, or *base* is empty.
    """
    if base is None:
        return overrides
    if not base.strip():
        raise UsageError("--base '' names no commit", hint="leave the option out for the base that the spec says")
    from gates.pipeline.folder import repository_root, spec_file
    from gates.spec import yaml

    root = repository_root(Path.cwd())
    path = spec_file(file, root)
    gates = yaml.read(path, str(path))[0].get("gates")
    comparing = [name for name, gate in (gates.entries or {}).items() if gate.get("against")] if gates is not None else []
    if not comparing:
        raise UsageError("no gate compares with a base", location=str(path), hint="give one `against: merge-base`")
    plain = re.fullmatch(r"[A-Za-z][\w./~^-]*", base) and base not in ("null", "true", "false")
    value = base if plain else json.dumps(base, ensure_ascii=False)  # YAML would make a number of 1234567
    return (*overrides, *(f"gates.{name}.against={value}" for name in comparing))
