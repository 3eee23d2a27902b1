"""Jobs as the interface shows them: one by its id, or pages of all in the order in which they came, each with its history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gates.node.ledger import Read

LONGEST_RESULTS = 2**20
_SHOWN = (
    "number, status, owner, round, result, result_cid, receipt_cid, cpu_ms, reason, submitted_at, id AS job_id,"
    " key AS idempotency_key, cost AS cost_mana, price AS price_mana, executor AS executor_did"
)
_NAMES = tuple(column.split()[-1] for column in _SHOWN.split(", "))
_SELECT = f"SELECT {_SHOWN}, events FROM jobs"


def job(read: Read, identifier: str) -> dict[str, Any] | None:
    """The job with this id in the shape of the interface."""
    rows = read(f"{_SELECT} WHERE id = ?", (identifier,))
    return _shown(read, rows)[0] if rows else None


def jobs(read: Read, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
    """At most *limit* jobs beyond number *after*, oldest first, and the number to go on from when there are more.

    Jobs with long results make a shorter page, of at least one.
    """
    numbers, more = _page(read, after, limit)
    if not numbers:
        return [], None
    rows = read(f"{_SELECT} WHERE number BETWEEN ? AND ? ORDER BY number", (numbers[0], numbers[-1]))
    return _shown(read, rows), numbers[-1] if more else None


def _page(read: Read, after: int, limit: int) -> tuple[list[int], bool]:
    """The numbers of the jobs on a page, and whether there are more behind it."""
    query = "SELECT number, coalesce(length(result), 0) FROM jobs WHERE number > ? ORDER BY number LIMIT ?"
    numbers: list[int] = []
    characters = 0
    for number, length in read(query, (after, limit + 1)):
        characters += length
        if len(numbers) == limit or (numbers and characters > LONGEST_RESULTS):
            return numbers, True
        numbers.append(number)
    return numbers, False


def _shown(read: Read, rows: Sequence[Any]) -> list[dict[str, Any]]:
    histories = _histories(read, rows[0][0], rows[-1][0]) if rows else {}
    return [_show(row, histories[row[0]]) for row in rows]


def _histories(read: Read, first: int, last: int) -> dict[int, list[list[Any]]]:
    """The histories of the jobs with these numbers and those between."""
    found: dict[int, list[list[Any]]] = {}
    query = "SELECT job, status, at FROM job_events WHERE job BETWEEN ? AND ? ORDER BY job, sequence"
    for number, status, at in read(query, (first, last)):
        found.setdefault(number, []).append([status, at])
    return found


def _show(row: Sequence[Any], history: list[list[Any]]) -> dict[str, Any]:
    """A row in the shape of the interface; *history* was read later, and may be ahead of it."""
    *values, events = row
    return {**dict(zip(_NAMES, values, strict=True)), "history": history[:events]}
