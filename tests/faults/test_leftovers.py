"""The registry of leftovers: written before, taken out after, and undone for the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gates.faults.capability import works
from gates.leftovers import PLACE, LeftoverError, Owner, add, clean, entries, held, started, state_folder, undo, unique

HOLDER = """
import sys
from pathlib import Path
from gates.leftovers import held
with held("folder", sys.argv[2], folder=Path(sys.argv[1])) as name:
    Path(name).mkdir()
    print("held", flush=True)
    sys.stdin.read()
"""

NOTED = """
import sys
from pathlib import Path
from gates.leftovers import add
add("file", sys.argv[2], folder=Path(sys.argv[1]))
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry of the test's own."""
    return tmp_path / "leftovers"


def test_a_thing_is_written_down_as_long_as_it_is_there(registry: Path, tmp_path: Path) -> None:
    """Before it is made it stands in the registry, afterwards neither it nor its entry is there; also after an error."""
    path = tmp_path / unique("x")
    with held("file", str(path), folder=registry):
        (entry,) = entries(registry)
        assert (entry.kind, entry.name, entry.owner) == ("file", str(path), Owner.of(os.getpid()))
        path.touch()
        assert clean(registry) == ()  # its owner lives
        assert path.exists()
    with pytest.raises(ZeroDivisionError), held("file", str(path), folder=registry):
        _ = 1 / path.write_bytes(b"")
    assert not path.exists()
    assert entries(registry) == ()


def test_a_note_that_was_never_finished_is_swept_away(registry: Path, tmp_path: Path) -> None:
    """Who was killed while it wrote has made nothing yet; one who still writes is left alone."""
    registry.mkdir(mode=0o700)
    with subprocess.Popen(["true"]) as dead:
        pass
    half, begun = registry / f"1-{dead.pid}-1.new", registry / f"1-{os.getpid()}-1.new"
    for path in (half, begun):
        path.write_text('{"kind"')
    assert clean(registry) == ()
    assert (half.exists(), begun.exists()) == (False, True)


def test_what_a_killed_owner_made_is_undone(registry: Path, tmp_path: Path) -> None:
    """SIGKILL leaves it; the next who cleans finds it by its owner's id and start."""
    path = tmp_path / unique("x")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(registry), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        assert clean(registry) == ()
        os.kill(owner.pid, signal.SIGKILL)
    assert path.is_dir()
    assert [(each.leftover.name, each.problem) for each in clean(registry)] == [(str(path), "")]
    assert not path.exists()
    assert entries(registry) == ()


@pytest.mark.skipif(bool(works("tmpfs")), reason=works("tmpfs"))
def test_a_disk_with_no_room_for_one_more_file_keeps_nobody_from_cleaning(tmp_path: Path) -> None:
    """The disk may be why the owner died, so to clean needs no file that was not there before."""
    disk, victim = tmp_path / "disk", tmp_path / unique("x")
    disk.mkdir()
    with held("mount", str(disk), folder=tmp_path / "own"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=12", unique("disk"), str(disk)], check=True)
        subprocess.run([sys.executable, "-c", NOTED, str(disk / "leftovers"), str(victim)], check=True)
        victim.touch()
        with suppress(OSError):
            for number in range(20):
                (disk / str(number)).touch()
        with pytest.raises(OSError, match="No space left"):
            (disk / "another").touch()
        assert [each.problem for each in clean(disk / "leftovers")] == [""]
    assert not victim.exists()


def test_what_can_not_be_undone_stays_and_says_why(registry: Path, tmp_path: Path) -> None:
    """A heal that fails is told, and tried again the next time; what is not ours by its name is never touched."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    leftover = add("folder", str(theirs), folder=registry)
    with pytest.raises(LeftoverError, match="does not begin with 'gates-'"):
        undo(leftover)
    text = leftover.path.read_text().replace(f'"started": {leftover.owner.started}', '"started": 1')
    leftover.path.write_text(text)
    (cleaned,) = clean(registry)
    assert "does not begin" in cleaned.problem
    assert theirs.exists()
    assert len(entries(registry)) == 1


def test_a_registry_that_others_can_write_is_refused(registry: Path) -> None:
    """What is undone is undone with our rights, so nobody else may say what."""
    registry.mkdir()
    registry.chmod(0o777)
    with pytest.raises(LeftoverError, match="only we can write"):
        add("file", "x", folder=registry)
    with pytest.raises(LeftoverError, match="only we can write"):
        entries(registry)


def test_nobody_else_may_own_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write there could put a registry of his own in its place."""
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))
    add("file", "x")
    (tmp_path / "state").chmod(0o777)
    for use in (entries, clean, lambda: add("file", "y")):
        with pytest.raises(LeftoverError, match="only we can write"):
            use()


def test_an_entry_of_an_earlier_boot_is_forgotten(registry: Path, tmp_path: Path) -> None:
    """A reboot has undone it, and a process of the same id has nothing to do with it."""
    leftover = add("namespace", unique("x"), folder=registry)
    leftover.path.write_text(leftover.path.read_text().replace(leftover.owner.boot, "another"))
    assert [each.problem for each in clean(registry)] == [""]
    assert entries(registry) == ()


def test_damaged_entries_are_passed_over(registry: Path) -> None:
    """A half-written line or an unknown kind stops nobody from cleaning the rest."""
    add("file", "x", folder=registry)
    (registry / "1.json").write_text('{"kind": "file"')
    (registry / "2.json").write_text('{"kind": "star", "name": "x", "detail": {}, "owner": {}, "order": 1}')
    (registry / "3.json").write_text("[]")
    assert len(entries(registry)) == 1


def test_a_stranger_of_the_same_id_is_left_alone(registry: Path) -> None:
    """A process is undone only when its start says that it is the one."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        undo(add("process", str(process.pid), folder=registry, started="1"))
        assert process.poll() is None
        undo(add("process", str(process.pid), folder=registry, started=str(started(process.pid))))
        assert process.wait(5) == -signal.SIGKILL


def test_the_registry_does_not_follow_the_session() -> None:
    """The next session of the user finds what the last one left."""
    assert state_folder({"TMPDIR": "/elsewhere"}) == state_folder({})
    assert state_folder({"READINESS_STATE_FOLDER": "/mine"}) == Path("/mine/leftovers")


def test_names_are_given_once() -> None:
    """Two things of one run, and of two runs, have different names that say whose they are."""
    assert unique("a") != unique("a")
    assert unique("a").startswith(f"gates-{os.getpid()}-")
