"""`--base REF`: for every gate that compares, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates.cli.base import against
from gates.errors import UsageError

SPEC = "version: 1\ngates:\n  a: {kind: benchmarks, against: merge-base}\n  b: {kind: tests}\n"


def test_every_gate_that_compares_takes_the_given_base(tmp_path: Path) -> None:
    """As overrides, which the report shows; without the option nothing changes."""
    file = tmp_path / "readiness.yaml"
    file.write_text(SPEC)
    assert against(str(file), "v1.0", ("gates.b.limit=2 min",)) == ("gates.b.limit=2 min", "gates.a.against=v1.0")
    assert against(str(file), None, ("x=y",)) == ("x=y",)


def test_a_base_that_nobody_would_use_is_refused(tmp_path: Path) -> None:
    """It would be taken for a comparison that never took place."""
    file = tmp_path / "readiness.yaml"
    file.write_text(SPEC.replace(", against: merge-base", ""))
    with pytest.raises(UsageError, match="no gate compares"):
        against(str(file), "v1.0", ())


@pytest.mark.parametrize("name", ["1234567", "null", "1e5", "2026-01-01", "main~2", "HEAD^{/fix: it}"])
def test_a_base_is_a_name_whatever_yaml_would_make_of_it(tmp_path: Path, name: str) -> None:
    """A short commit may well be a number."""
    from gates.spec import yaml

    file = tmp_path / "readiness.yaml"
    file.write_text(SPEC)
    (found,) = against(str(file), name, ())
    assert yaml.parse(found.partition("=")[2], "it").scalar == name


def test_an_empty_base_is_refused(tmp_path: Path) -> None:
    """A variable that is not set must not silently compare with something else."""
    file = tmp_path / "readiness.yaml"
    file.write_text(SPEC)
    with pytest.raises(UsageError, match="names no commit"):
        against(str(file), "", ())
