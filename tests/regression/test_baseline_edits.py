"""Baseline files that are no numbers, or no file at all: each is said, none is an internal error."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates.errors import BadFileError
from gates.regression.baselines import Baseline, BaselineRun, place, read, text

MACHINE = {"cpu": "one"}


def stored(root: Path) -> Path:
    run = BaselineRun("r", "0" * 40, "2026-11-23T15:00:00Z", "green", {"ratio/a": 3.25})
    path = place(root, MACHINE, "it")
    path.parent.mkdir(parents=True)
    path.write_text(text(Baseline(MACHINE, "it", ()).with_run(run)))
    return path


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"3.25"', "null", "true", "[3.25]", "3.250000001"])
def test_a_number_that_was_changed_is_refused(tmp_path: Path, number: str) -> None:
    """Whatever an editor may leave there."""
    path = stored(tmp_path)
    path.write_text(path.read_text().replace("3.25", number))
    with pytest.raises(BadFileError):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff\xfe", b"null", b"[" * 100_000, b'{"version": 1}', b'{"version": true}']
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: bytes) -> None:
    """By its file."""
    path = stored(tmp_path)
    path.write_bytes(content)
    with pytest.raises(BadFileError) as refused:
        read(path)
    assert refused.value.location.startswith(str(path))


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    """It can't be read."""
    path = stored(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadFileError):
        read(path)
