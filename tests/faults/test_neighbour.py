"""A process of ours beside the node."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gates.faults.node_fault import Neighbour
from gates.leftovers import started

HALVES = """
import time
while True:
    for part in ("who", "le\\n"):
        sys.stdout.write(part)
        sys.stdout.flush()
        time.sleep(0.005)
"""
OWNER = """
import sys
from gates.faults.node_fault import Neighbour
neighbour = Neighbour("import time; time.sleep(60)")
neighbour.start()
print(neighbour._process.pid, flush=True)
sys.stdin.read()
"""


def test_only_whole_lines_are_told() -> None:
    """A line that is written in two parts is one line, whenever the look comes."""
    found: list[str] = []
    with Neighbour(HALVES) as neighbour:
        neighbour.start()
        while len(found) < 20:
            found += neighbour.lines()
    assert set(found) == {"whole"}


def test_a_neighbour_ends_with_whoever_started_it() -> None:
    """Also after SIGKILL: its pipe ends."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, 0)
        owner.kill()
    patience = time.monotonic() + 5
    while started(pid):
        assert time.monotonic() < patience
        time.sleep(0.01)
