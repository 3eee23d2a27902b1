"""Drills of the recovery primitives: a breaker and a retry that do what all but one of their peers do.

Each defect is put over the installed `gates.recovery` by the inner run's own conftest.py, which also leaves a file when the
defect is reached; the project's own tests of breaker, budget and backoff must turn the gate red.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from gates.model import Base, Drill, Sighting, Tree

_REACHED = "reached.txt"
_CONFTEST = '''"""A seeded defect."""

from pathlib import Path

from gates.recovery import backoff
from gates.recovery.breaker import CircuitBreaker
from gates.recovery.budget import RetryBudget
from gates.recovery.circuit import CLOSED
from gates.recovery.classification import RETRYABLE
from gates.recovery.machine import Machine


def reached():
    Path("{reached}").touch()


'''

SUITE = Base(
    name="primitives-suite",
    gate="unit",
    criteria=("failed",),
    settings={
        "command": [
            *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"),
            *("tests", "--junitxml={evidence}/junit.xml"),
        ]
    },
    copies=(
        "tests/recovery/test_breaker.py",
        "tests/recovery/test_budget.py",
        "tests/recovery/test_backoff.py",
    ),
    seconds=4.0,
)

_NEVER_OPENS = """
def _opening(self, *_):
    reached()

Machine._opening = _opening
"""
_NEVER_CLOSES = """
sound = Machine._enter

def _enter(self, events, state, now):
    reached()
    if state is not CLOSED:
        sound(self, events, state, now)

Machine._enter = _enter
"""
_ADMITS_EVERYONE = """
sound = Machine._probe

def _probe(self, events, now, outage):
    reached()
    outage.probes.clear()
    return sound(self, events, now, outage)

Machine._probe = _probe
"""
_COUNTS_BUSINESS_ERRORS = """
def _meaning(self, error):
    reached()
    return RETRYABLE

CircuitBreaker._meaning = _meaning
"""
_TAKES_LATE_RESULTS = """
sound = Machine._current

def _current(self, permit):
    reached()
    return sound(self, permit) or True

Machine._current = _current
"""
_NO_BUDGET = """
def withdraw(self):
    reached()
    return True

RetryBudget.withdraw = withdraw
"""
_NO_JITTER = """
def _full(of):
    def delay(attempt, previous, draw):
        reached()
        return of.window(attempt)

    return delay

backoff._JITTERED["full"] = _full
"""


def _seeding(defect: str) -> Callable[[Tree], Tree]:
    def seed(tree: Tree) -> Tree:
        return tree.with_file("tests/conftest.py", _CONFTEST.format(reached=_REACHED) + defect)

    return seed


def _failures(gate: Path, tree: Path) -> Sighting:
    """The file that the defect leaves when it is reached, and pytest's own JUnit, read without the kind's reader."""
    file = gate / "evidence" / "junit.xml"
    elements = ElementTree.parse(file).iter() if file.exists() else ()
    unwell = sum(element.tag in ("failure", "error") for element in elements)
    return Sighting(int((tree / _REACHED).exists()), unwell, f"pytest's own file holds {unwell:,} failures and errors")


def _drill(name: str, summary: str, defect: str) -> Drill:
    return Drill(name, summary, SUITE, "failed", _seeding(defect), _failures, seconds=4.0)


DRILLS = (
    _drill("breaker-never-opens", "A breaker counts failures and never opens.", _NEVER_OPENS),
    _drill("breaker-never-closes", "Good probes do not close a breaker.", _NEVER_CLOSES),
    _drill("breaker-admits-everyone", "A half-open breaker has no limit of probes.", _ADMITS_EVERYONE),
    _drill("breaker-counts-business-errors", "Bad input of one caller opens the breaker for all.", _COUNTS_BUSINESS_ERRORS),
    _drill("breaker-takes-late-results", "A result of a generation that is gone counts.", _TAKES_LATE_RESULTS),
    _drill("retry-without-budget", "A total outage is multiplied by the number of attempts.", _NO_BUDGET),
    _drill("retry-without-jitter", "All clients that fail at once come back at once.", _NO_JITTER),
)
