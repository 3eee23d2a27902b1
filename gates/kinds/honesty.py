"""Whether a node says that it is not ready while it can't be: its readiness polled ten times a second beside the load."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from gates.faults import DatabaseLocked
from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault
from gates.model import Measurement, Table, Unit

PERIOD = 0.1
NOTICE = 2.0
"""So many seconds a node may take to notice that it is not ready any more."""
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Poll:
    """One question whether *node* is ready: when it was asked and answered, and the status, 0 without an answer."""

    node: str
    asked: float
    answered: float
    code: int


def vital(fault: PlannedFault) -> bool:
    """Whether *fault* takes away what the struck node can't be ready without."""
    return fault.name == DatabaseLocked.name and bool(fault.settings.get("vital", True))


def watched(start: float, end: float) -> float:
    """For how much of a fault from *start* to *end* the answers count."""
    return max(0.0, end - start - NOTICE)


class Poller(threading.Thread):
    """Asks *node* at *url* every 100 ms until `finish`, however long the answers take.

    Times are of *clock*, seconds from the start of load.
    """

    def __init__(self, node: str, url: str, headers: Mapping[str, str], clock: Callable[[], float]) -> None:
        super().__init__(name=f"ready-{node}", daemon=True)
        self._node, self._parts, self._headers, self._clock = node, urlsplit(url), dict(headers), clock
        self._finish = threading.Event()
        self.polls: list[Poll] = []

    def run(self) -> None:
        with ThreadPoolExecutor(int(PATIENCE / PERIOD) + 1, thread_name_prefix=self.name) as pool:
            due = self._clock()
            while not self._finish.is_set():
                pool.submit(self._poll)
                due += PERIOD
                self._finish.wait(max(0.0, due - self._clock()))

    def _poll(self) -> None:
        asked = self._clock()
        code = self._ask()
        self.polls.append(Poll(self._node, asked, self._clock(), code))

    def _ask(self) -> int:
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=PATIENCE)
        try:
            connection.request("GET", self._parts.path, headers=self._headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()


def lies(polls: Sequence[Poll], faults: Sequence[PlannedFault], observations: Sequence[Observation]) -> tuple[Measurement, ...]:
    """How many answers to *polls* said yes while a vital fault was seen and the node had had time to notice.

    Only what was asked and answered inside of the window counts; no answer is no lie, and no data.
    """
    counted = _counted(polls, faults, observations)
    if not counted:
        return ()
    lied = sum(200 <= poll.code < 300 for poll in counted)
    return (Measurement("ready.lied", lied, Unit.COUNT, len(counted)),)


def shown(polls: Sequence[Poll], faults: Sequence[PlannedFault], observations: Sequence[Observation]) -> tuple[Table, ...]:
    """How each node's readiness was answered while it could not be ready, and otherwise."""
    during = set(_counted(polls, faults, observations))
    told = Counter((poll.node, "fault seen" if poll in during else "otherwise", poll.code) for poll in polls)
    rows = tuple((node, when, f"{code or 'no answer'}", f"{times:,}") for (node, when, code), times in sorted(told.items()))
    return (Table("Readiness, asked ten times a second", ("node", "when", "status", "times"), rows),) if rows else ()


def _counted(polls: Sequence[Poll], faults: Sequence[PlannedFault], observations: Sequence[Observation]) -> list[Poll]:
    struck = {(fault.name, fault.nodes, fault.start) for fault in faults if vital(fault)}
    windows = [each for each in observations if (each.fault, each.nodes, each.asked_start) in struck and each.seen]
    return [poll for window in windows for poll in polls if poll.node in window.nodes and _inside(poll, window)]


def _inside(poll: Poll, window: Observation) -> bool:
    begins, ends = window.seen_start, window.healing
    assert begins is not None
    return bool(poll.code) and begins + NOTICE <= poll.asked and poll.answered <= (ends or begins)
