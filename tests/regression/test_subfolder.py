"""A project that is a folder of a larger repository."""

from __future__ import annotations

from pathlib import Path

from repositories import committed, repository

from gates.regression.checkouts import checked_out


def test_a_project_in_a_folder_of_a_repository_is_checked_out_as_that_folder(tmp_path: Path) -> None:
    """Its suite and packages are found below it, on both sides, at paths of one length; also the working tree."""
    top = repository(tmp_path / "top")
    committed(top, "Start", {"part/bench/test_it.py": "old", "other/file": "", "part/.gitignore": ".readiness/\n"})
    committed(top, "Next", {"part/bench/test_it.py": "new"})
    for candidate in ("HEAD", "."):
        with checked_out(top / "part", "HEAD~1", candidate, parent=tmp_path / "home") as both:
            assert (both.base / "bench/test_it.py").read_text() == "old"
            assert (both.candidate / "bench/test_it.py").read_text() == "new"
            assert len(str(both.base)) == len(str(both.candidate))
    assert list((tmp_path / "home").iterdir()) == []
