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
) -> tuple[dict[str, Any], bool]:
    """Observe what stands still; whether it does *within* so many seconds, by default the invariants' own. Raises OSError.

    A target that stands still without having come to its end is watched for that long, and then observed as it is.
    """
    bound = max((getattr(each, "within", PATIENCE) for each in invariants), default=PATIENCE)
    deadline = clock() + (bound if within is None else within)
    last, _ = _look(invariants, fetch, endpoints)
    still = False
    while clock() < deadline:
        sleep(PACE)
        now, ended = _look(invariants, fetch, endpoints)
        still, last = now == last, now
        if still and ended:
            break
    return _observed(invariants, fetch, endpoints, last), still


def _look(invariants: Sequence[Invariant], fetch: Fetch, endpoints: Sequence[str]) -> tuple[dict[Any, Any], bool]:
    """A cheap look where an invariant has one, else its whole answer, by question; and whether all has come to its end."""
    looks: dict[Any, Any] = {}
    ended = True
    for invariant in invariants:
        cheap = getattr(type(invariant), "at_rest", None)
        question = cheap or type(invariant).observe
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
        question = type(invariant).observe
        if question not in answers:
            answers[question] = invariant.observe(fetch, endpoints)
    return {invariant.name: answers[type(invariant).observe] for invariant in invariants}


def check(
    invariants: Sequence[Invariant], history: Sequence[Operation], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, InvariantOutcome]:
    """Every invariant's outcome, by name."""
    return {each.name: each.check(history, before[each.name], after[each.name]) for each in invariants}


def worse(first: InvariantOutcome, second: InvariantOutcome) -> InvariantOutcome:
    """The outcome with the higher measurements, else the one that says nothing; of equal ones the *second*, which saw more."""
    return first if _severity(first) > _severity(second) else second


def _severity(outcome: InvariantOutcome) -> tuple[float, bool]:
    return sum(measurement.value for measurement in outcome.measurements), not outcome.measurements
