"""Invariants at work: ask the target, wait until nothing moves, check, and keep the worse of two answers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gates.model import Fetch, Invariant, InvariantOutcome, Operation

PATIENCE = 5.0
PACE = 0.1


def fetcher(endpoints: Mapping[str, str], headers: Mapping[str, str] | None = None, *, patience: float = PATIENCE) -> Fetch:
    """A `Fetch` over *endpoints*: name to base URL; *headers* go with every request."""

    def fetch(name: str, path: str) -> Any:
        parts = urlsplit(endpoints[name])
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=patience)
        try:
            connection.request("GET", parts.path.rstrip("/") + path, headers=dict(headers or {}))
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{name}: GET {path}: {error!r}") from error
        finally:
            connection.close()
        return _decoded(body, answer.status, f"{name}: GET {path}")

    return fetch


def _decoded(body: bytes, status: int, where: str) -> Any:
    if status != 200:
        raise OSError(f"{where} was answered with {status}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise OSError(f"{where} is no JSON: {error}") from error


def observe(invariants: Sequence[Invariant], fetch: Fetch, endpoints: Sequence[str]) -> dict[str, Any]:
    """What the target says, by invariant; those that ask the same question share one answer. Raises OSError."""
    return _observed(invariants, fetch, endpoints, {})


def observe_settled(
    invariants: Sequence[Invariant],
    fetch: Fetch,
    endpoints: Sequence[str],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    within: float | None = None,
    on_rest: Callable[[bool], None] = lambda ended: None,
) -> tuple[dict[str, Any], bool]:
    """Observe what stands still; whether it does *within* so many seconds, by default the invariants' own. Raises OSError.

    A target that stands still without having come to its end is watched for that long, and then observed as it is. *on_rest* is
    called when the watch is over, before the whole answers are asked for, with whether all stood still and had come to its end;
    never when no invariant asks the target anything, because then nobody has seen it stand still.
    """
    bound = max((getattr(each, "within", PATIENCE) for each in invariants), default=PATIENCE)
    deadline = clock() + (bound if within is None else within)
    last, _ = _look(invariants, fetch, endpoints)
    still = ended = False
    while clock() < deadline:
        sleep(PACE)
        now, ended = _look(invariants, fetch, endpoints)
        still, last = now == last, now
        if still and ended:
            break
    if any(look is not None for look in last.values()):
        on_rest(still and ended)
    return _observed(invariants, fetch, endpoints, last), still


def _look(invariants: Sequence[Invariant], fetch: Fetch, endpoints: Sequence[str]) -> tuple[dict[Any, Any], bool]:
    """A cheap look where an invariant has one, else its whole answer, by question; and whether all has come to its end."""
    looks: dict[Any, Any] = {}
    ended = True
    for invariant in invariants:
        cheap = getattr(type(invariant), "at_rest", None)
        question = _question(invariant, cheap or type(invariant).observe)
        if question not in looks and cheap is not None:
            looks[question], at_rest = invariant.at_rest(fetch, endpoints)  # type: ignore[attr-defined]
            ended = ended and at_rest
        elif question not in looks:
            looks[question] = invariant.observe(fetch, endpoints)
    return looks, ended


def _observed(
    invariants: Sequence[Invariant], fetch: Fetch, endpoints: Sequence[str], looks: Mapping[Any, Any]
) -> dict[str, Any]:
    """The whole answers, of which those that were looked at already are not asked for again."""
    answers = dict(looks)
    for invariant in invariants:
        question = _question(invariant, type(invariant).observe)
        if question not in answers:
            answers[question] = invariant.observe(fetch, endpoints)
    return {each.name: answers[_question(each, type(each).observe)] for each in invariants}


def _question(invariant: Invariant, asked: Any) -> Any:
    """What *invariant* asks by *asked*: one that is made of a declaration says by its own `question` what it is about."""
    return asked, getattr(invariant, "question", None)


def check(
    invariants: Sequence[Invariant], history: Sequence[Operation], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, InvariantOutcome]:
    """Every invariant's outcome, by name."""
    return {each.name: each.check(history, before[each.name], after[each.name]) for each in invariants}


def worse(first: InvariantOutcome, second: InvariantOutcome) -> InvariantOutcome:
    """The outcome with the higher measurements, else the one that says nothing; of equal ones the *second*, which saw more."""
    return first if _severity(first) > _severity(second) else second


def worst(found: Sequence[Mapping[str, InvariantOutcome]]) -> Mapping[str, InvariantOutcome]:
    """The worse outcome of every invariant of two looks, before the retries and after: it holds only if it held in both.

    Where the target did not answer to one, what the other proves wrong is wrong all the same, and nothing else is known.
    """
    if len(found) == 2:
        first, second = found
        return {name: worse(first[name], second[name]) for name in first if name in second}
    return {name: outcome for each in found for name, outcome in each.items() if _severity(outcome)[0] > 0}


def _severity(outcome: InvariantOutcome) -> tuple[float, bool]:
    return sum(measurement.value for measurement in outcome.measurements), not outcome.measurements
