"""A test that needs a system program says so; without the program it is left out aloud, or fails when GATES_REQUIRE=all.

@pytest.mark.needs("chromium", "apt-get install chromium")
def test_the_report_opens_in_a_browser() -> None: ...
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from collections import Counter
from collections.abc import Sequence

import pytest

LEFT_OUT = pytest.StashKey[Counter[tuple[str, str]]]()


def pytest_configure() -> None:
    """Heed Ctrl-C even when a shell started us in its background: tests send it to processes that inherit our deafness."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def missing_programs(item: pytest.Item) -> list[tuple[str, str]]:
    """The (program, installing line) pairs of *item*'s `needs` marks whose program is not on this machine."""
    return [(program, line) for program, line in (mark.args for mark in item.iter_markers("needs")) if not is_here(program)]


def is_here(program: str) -> bool:
    """Whether *program* can be run, or, when it is a shared library, loaded, or, when it is a pseudo-terminal, opened."""
    if program == "pseudo-terminal":  # a bare root may have no /dev/pts
        try:
            for end in os.openpty():
                os.close(end)
        except OSError:
            return False
        return True
    if ".so" in program:
        try:
            ctypes.CDLL(program)
        except OSError:
            return False
        return True
    # Debian keeps servers in sbin, which an ordinary user's PATH leaves out.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(program, path=path) is not None


@pytest.hookimpl(trylast=True)  # after -m and -k, so that what nobody asked for is not counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what can't run here, unless everything is required."""
    lacking = [item for item in items if missing_programs(item)]
    if not lacking or os.environ.get("GATES_REQUIRE") == "all":
        return
    config.stash[LEFT_OUT] = Counter(pair for item in lacking for pair in missing_programs(item))
    config.hook.pytest_deselected(items=lacking)
    items[:] = [item for item in items if item not in lacking]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With GATES_REQUIRE=all a test without its program fails, and says how to get it."""
    missing = missing_programs(item)
    if missing:
        pytest.fail("; ".join(f"{program} is required and not here: {line}" for program, line in missing), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out, why, and the line that installs what they need."""
    left_out = terminalreporter.config.stash.get(LEFT_OUT, Counter())
    for sentence in sentences(sorted(left_out.items())):
        terminalreporter.write_line(sentence, yellow=True)


def sentences(left_out: Sequence[tuple[tuple[str, str], int]]) -> list[str]:
    """One sentence a missing program."""
    return [
        f"{count} {'test was' if count == 1 else 'tests were'} left out: {program} is not on this machine; {line}"
        for (program, line), count in left_out
    ]
