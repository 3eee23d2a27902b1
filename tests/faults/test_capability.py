"""What the machine lets us do: tried for real, told in a sentence, and nothing left of the trial."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from gates.faults import capability
from gates.faults.capability import PROBES, works
from gates.leftovers import PLACE, entries


@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_capability_is_there_or_says_why_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the answer, nothing that the trial made is left."""
    monkeypatch.setenv(PLACE, str(tmp_path))
    before = Path("/proc/self/mountinfo").read_text()
    works.cache_clear()
    reason = works(name)
    assert reason == "" or reason.startswith(f"{name}: ")
    assert entries() == ()
    assert Path("/proc/self/mountinfo").read_text() == before
    here = f"gates-{os.getpid()}-"
    assert not list(Path("/run/netns").glob(f"{here}*"))
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{here}*"))


def test_an_unknown_capability_is_not_there() -> None:
    """A plug-in that names one must bring its probe."""
    assert "nobody knows" in works("levitation")


def test_a_failing_trial_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are not there or fail speak for themselves."""
    monkeypatch.setitem(PROBES, "odd", partial(capability.run, "no-such-program-of-gates"))
    assert works("odd") == "odd: the program no-such-program-of-gates is not installed"
    monkeypatch.setitem(PROBES, "false", partial(capability.run, "sh", "-c", "echo no way >&2; exit 3"))
    assert works("false").endswith("says: no way")


def test_a_user_namespace_without_mounts_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe takes its folder away also when the mount is refused."""
    refusing, temporary = tmp_path / "bin", tmp_path / "temporary"
    for folder in (refusing, temporary):
        folder.mkdir()
    (refusing / "mount").write_text("#!/bin/sh\necho refused >&2\nexit 32\n")
    (refusing / "mount").chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(temporary))
    with pytest.raises(OSError, match="unshare"):
        PROBES["user-namespace"]()
    assert not list(temporary.iterdir())
