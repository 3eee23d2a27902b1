"""Groups of both versions: found, limited, read and gone. Version 2 on a tree of plain files where the machine has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gates.faults import cgroups
from gates.faults.capability import works
from gates.leftovers import PLACE, entries


@pytest.fixture(autouse=True)
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of the test's own."""
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))


def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, handed: str = "", ours: str = "/us/here") -> Path:
    """A unified hierarchy of plain files in which our own group is *ours*."""
    root = tmp_path / "unified"
    (root / ours.lstrip("/")).mkdir(parents=True)
    for place in (root, *(path for path in root.rglob("*") if path.is_dir())):
        (place / "cgroup.controllers").write_text("cpu memory pids\n")
        (place / "cgroup.subtree_control").write_text(f"{handed}\n" if place == root else "")
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": root})
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": ours})
    return root


def test_the_nearest_group_that_hands_a_controller_on_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own group when it may hand it on, and it is as it was afterwards; else one above that does."""
    root = unified(tmp_path, monkeypatch, handed="memory")
    with cgroups._parent("memory") as (version, path):
        assert (version, path) == (2, root / "us" / "here")
        assert (path / "cgroup.subtree_control").read_text() == "+memory"
    assert (path / "cgroup.subtree_control").read_text() == "-memory"

    def busy(path: Path, text: str) -> int:
        raise OSError("a group with processes hands nothing on")

    monkeypatch.setattr(Path, "write_text", busy)
    with cgroups._parent("memory") as (version, path):
        assert (version, path) == (2, root)


def test_a_controller_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the list of faults can say why."""
    root = unified(tmp_path, monkeypatch)
    (root / "cgroup.controllers").write_text("hugetlb\n")
    with pytest.raises(OSError, match="no cgroup hierarchy has the controller memory"), cgroups.group(["memory"], "x"):
        pass
    assert entries() == ()


def test_a_group_of_version_2_speaks_its_files(tmp_path: Path) -> None:
    """Limits, whether there is one, usage and the kernel's counters."""
    group = cgroups.Group({name: cgroups.Place(2, tmp_path) for name in ("memory", "cpu", "pids")})
    group.limit("memory", 1 << 20)
    group.limit("cpu", 0.1)
    group.limit("pids", 7)
    assert [(tmp_path / name).read_text() for name in ("memory.max", "cpu.max", "pids.max")] == ["1048576", "10000 100000", "7"]
    assert all(map(group.limited, ("memory", "cpu", "pids")))
    for name in ("memory", "cpu", "pids"):
        group.free(name)
    assert not any(map(group.limited, ("memory", "cpu", "pids")))
    (tmp_path / "memory.events").write_text("low 0\nhigh 3\nmax 5\noom 1\noom_kill 2\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1\nnr_periods 9\nnr_throttled 4\n")
    (tmp_path / "pids.events").write_text("max 6\n")
    assert [group.count(what) for what in ("reclaimed", "oom", "throttled", "forks")] == [5, 2, 4, 6]
    assert group.command(["true"])[2].count("cgroup.procs") == 1


def test_a_counter_that_rises_is_the_fault(tmp_path: Path) -> None:
    """While there is a limit a pause tells nothing for two seconds; without one it is over at once."""
    group = cgroups.Group({"pids": cgroups.Place(2, tmp_path)})
    group.limit("pids", 1)
    (tmp_path / "pids.events").write_text("max 1\n")
    rising = cgroups.Rising(group, "forks")
    assert rising() is False
    (tmp_path / "pids.events").write_text("max 4\n")
    assert (rising(), rising(), rising.gained) == (True, None, 3)
    (tmp_path / "pids.events").write_text("max 5\n")
    assert rising() is True
    group.free("pids")
    assert rising() is False


@pytest.mark.skipif(bool(works("cgroup-pids")), reason=works("cgroup-pids"))
def test_a_real_group_holds_what_is_started_in_it_and_is_gone_afterwards() -> None:
    """What still runs in it is ended with it."""
    with cgroups.group(["memory", "cpu", "pids"], "test") as group:
        command = group.command([sys.executable, "-c", "import sys; print('here', flush=True); sys.stdin.read()"])
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert group.members() == [process.pid]
        assert cgroups.of(process.pid) == group
        assert group.memory() > 0
        paths = [place.path for place in group.places.values()]
    assert process.wait(5) == -9
    process.communicate()
    assert not any(path.exists() for path in paths)
    assert entries() == ()
    with pytest.raises(OSError, match="no group of ours"):
        cgroups.of(os.getpid())
