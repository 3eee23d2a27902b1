"""The preloaded library, on a Python process of the test's own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gates.faults import shim
from gates.faults.capability import works
from gates.faults.shim import Control, ShimError
from gates.leftovers import PLACE

SPEAKER = """
import json, os, sys, time
def tried(action):
    try:
        action()
        return 0
    except OSError as error:
        return error.errno
file = os.open(os.path.join(sys.argv[1], "kept"), os.O_RDWR | os.O_CREAT)
os.write(file, bytes(100))
for line in sys.stdin:
    began, steady = time.time(), time.monotonic()
    print(json.dumps({
        "time": time.time(),
        "inside": tried(lambda: os.pwrite(file, b"x", 50)),
        "grow": tried(lambda: os.pwrite(file, b"x", 100)),
        "make": tried(lambda: os.close(os.open(os.path.join(sys.argv[1], "new"), os.O_WRONLY | os.O_CREAT))),
        "read": tried(lambda: os.close(os.open(os.path.join(sys.argv[1], "kept"), os.O_RDONLY))),
        "elsewhere": tried(lambda: open(os.path.join(sys.argv[2], "x"), "w").write("x")),
        "shorten": tried(lambda: os.ftruncate(file, 100)),
        "sync": tried(lambda: os.fsync(file)),
        "took": time.monotonic() - steady,
    }), flush=True)
    if os.path.exists(os.path.join(sys.argv[1], "new")):
        os.unlink(os.path.join(sys.argv[1], "new"))
"""
PEACE = {"inside": 0, "grow": 0, "make": 0, "read": 0, "elsewhere": 0, "shorten": 0, "sync": 0}

needs_preload = pytest.mark.skipif(bool(works("preload")), reason=works("preload"))


class Speaker:
    """Says what it is told by the system."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "other").mkdir()
        self.control = Control.make(folder / "control", folder / "data")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SPEAKER, str(folder / "data"), str(folder / "other")],
            env={**os.environ, **self.control.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> tuple[dict[str, int], float, float]:
        """The errno of what it tried, by how much its clock is wrong, and how long it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said, said.pop("time") - time.time(), said.pop("took")


@needs_preload
def test_each_lie_is_told_when_it_is_asked_for_and_only_of_the_folder(tmp_path: Path) -> None:
    """Full, read-only, failing and slow syncs, wrong time: live, counted, and nothing of it afterwards."""
    speaker = Speaker(tmp_path)
    control = speaker.control
    with speaker.process:
        said, wrong, _ = speaker.ask()
        assert (said, abs(wrong) < 1) == (PEACE, True)
        for what, value, expected in (
            ("refuse", errno.ENOSPC, {"grow": errno.ENOSPC, "make": errno.ENOSPC}),  # what lies inside a file is taken
            ("refuse", errno.EROFS, dict.fromkeys(("inside", "grow", "make", "shorten"), errno.EROFS)),
            ("unsynced", errno.EIO, {"sync": errno.EIO}),
            ("offset", int(-3600e9), {}),
            ("slow", 200_000, {}),
        ):
            control.set(what, value)
            said, wrong, took = speaker.ask()
            assert said == {**PEACE, **expected}, what
            assert (abs(wrong + 3600) < 1) == (what == "offset")
            assert abs(wrong) < 1 or what == "offset"
            assert (took >= 0.2) == (what == "slow")
            control.set(what, 0)
            assert speaker.ask()[0] == PEACE
        assert control.get("refused") == 6
        assert (control.get("failed"), control.get("slowed")) == (1, 1)
        assert control.get("told") >= 1
        assert speaker.process.stdin is not None
        speaker.process.stdin.close()


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the compiler says when it fails."""
    monkeypatch.setenv(PLACE, str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(shim.shutil, "which", lambda name: None)
    with pytest.raises(ShimError, match="no C compiler"):
        shim.library()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(ShimError, match="the C compiler says"):
        shim.library()
