"""Feeds: tables of data that arrivals take rows of. Base dependencies only.

    feeds:
      users: {file: data/users.csv, order: in_turn}      # {users.name} in a flow is the column `name` of the arrival's row

Orders: `in_turn` (the k-th arrival that uses the feed takes row k, and after the last row comes the first), `random` (a row
drawn from the seed and the arrival's number) and `once` (as in turn, but no row is used twice: fewer rows than arrivals are an
error). A file is CSV with a header, or a JSON object a line (`gates.load.rows`); what is no text is filled in as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gates.errors import BadFileError
from gates.fields import Settings
from gates.load.plan import LoadPlan
from gates.load.rows import bad, content, digest, rows
from gates.load.template import has_bytes, names_in

Order = Literal["in_turn", "random", "once"]
GIVEN = "setup"
"""Under this name stands what the set-up captured, so no feed has it."""


class FeedSettings(Settings):
    """A feed as a scenario names it."""

    file: str
    order: Order = "in_turn"


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file: texts by column. *sha256* is of the file, in hex."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    sha256: str


def read_table(path: Path, name: str) -> Table:
    """The table at *path*, which its user knows as *name*.

    Raises BadFileError at file:line:column: what `rows` raises, no row at all, a row that lacks a column of the first, a
    text that has no bytes.
    """
    data = content(path, name)
    columns: tuple[str, ...] = ()
    found: list[Mapping[str, str]] = []
    for row in rows(data, name):
        columns = columns or tuple(row.values)
        missing = next((column for column in columns if column not in row.values), None)
        if missing is not None:
            raise bad(name, row, missing, f"this row has no {missing!r}, which the first one has")
        texts = {column: _text(row.values[column]) for column in columns}
        unsent = next((column for column in columns if not has_bytes(texts[column])), None)
        if unsent is not None:
            raise bad(name, row, unsent, f"{unsent!r} can't be sent: half of a surrogate pair")
        found.append(texts)
    if not found:
        raise BadFileError("no row in it", location=name, hint="give the feed at least one row")
    return Table(columns, tuple(found), digest(data))


def used_by(definition: Any) -> frozenset[str]:
    """The feeds that a flow's *definition*, any JSON value, takes rows of; the set-up counts as one."""
    return frozenset(name.partition(".")[0] for text in _texts(definition) for name in names_in(text) if "." in name)


def users(plan: LoadPlan, feed: str) -> frozenset[str]:
    """The flows of *plan* that use *feed*; a flow in Python may use any."""
    return frozenset(
        name
        for name, definition in plan.flows.items()
        if "python" in definition or feed in used_by((definition.get("steps"), definition.get("value")))
    )


def exhausted(plan: LoadPlan) -> Iterator[tuple[str, str]]:
    """Feeds of order `once` that have too few rows for *plan*, each with what is wrong."""
    for name, feed in plan.feeds.items():
        wanted = _most(plan, users(plan, name))
        if feed.order == "once" and wanted > feed.rows:
            yield name, f"{wanted:,} arrivals take a row each, and {feed.file} has {feed.rows:,}"


def _most(plan: LoadPlan, flows: Iterable[str]) -> int:
    """How many arrivals of *flows* come at most, whatever the seed."""
    total = sum(plan.mix.values()) // math.gcd(*plan.mix.values())
    own = sum(plan.mix[flow] for flow in flows) // math.gcd(*plan.mix.values())
    if plan.replay and plan.replay.flows:
        return sum(plan.mix[flow] for flow in flows)
    return plan.arrivals // total * own + min(own, plan.arrivals % total)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
