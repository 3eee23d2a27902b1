"""What arrivals are filled with besides their own: rows of feeds, and what the set-up captured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from gates.errors import BadFileError
from gates.load.feeds import GIVEN, Table, exhausted, read_table, users
from gates.load.plan import LoadPlan
from gates.load.rows import content, digest

NO_VARIABLES: Mapping[str, str] = {}


class Variables:
    """Texts by dotted name for each arrival of a plan; the same for the same seed, whichever worker sends it."""

    def __init__(self, plan: LoadPlan, *, seed: int, given: Mapping[str, str] = NO_VARIABLES, root: Path | None = None) -> None:
        """Read all files of *plan*, below *root* (default the working directory). *given* is what the set-up captured.

        Raises BadFileError when one is not what it was when the plan was made, or has too few rows.
        """
        from gates.load.schedule import Turns  # needs numpy, which a plug-in module is imported without

        self.root = root or Path.cwd()
        check_files(plan, self.root)
        self._given = given
        self.constants = {f"{GIVEN}.{name}": text for name, text in given.items()}
        self.feeds = frozenset(plan.feeds)
        self._seed = seed.to_bytes(16, "little", signed=True)
        self._tables = {name: read_table(self.root / feed.file, feed.file) for name, feed in plan.feeds.items()}
        self._orders = {name: feed.order for name, feed in plan.feeds.items()}
        self._turns = {name: Turns(plan, users(plan, name), seed=seed) for name in plan.feeds}

    def of(self, n: int, feeds: Iterable[str]) -> dict[str, str]:
        """The rows of *feeds* that arrival *n* takes, as `feed.column`."""
        return {f"{feed}.{column}": text for feed in feeds for column, text in self.row(feed, n).items()}

    def row(self, feed: str, n: int) -> Mapping[str, str]:
        """The row of *feed* that arrival *n* takes; of `setup` what was captured."""
        if feed == GIVEN:
            return self._given
        table: Table = self._tables[feed]
        return table.rows[self._index(feed, n) % len(table.rows)]

    def _index(self, feed: str, n: int) -> int:
        if self._orders[feed] != "random":
            return self._turns[feed].of(n)
        drawn = hashlib.blake2b(n.to_bytes(8, "little") + feed.encode(), digest_size=8, key=self._seed, person=b"feed")
        return int.from_bytes(drawn.digest(), "little")


def check_files(plan: LoadPlan, root: Path) -> None:
    """Raise BadFileError when a file of *plan* has changed since it was made, or a feed has too few rows for it."""
    for file, sha256 in plan.files.items():
        if digest(content(root / file, file)) != sha256:
            hint = "plan again; a plan never changes"
            raise BadFileError("the file has changed since the run was planned", location=file, hint=hint)
    for name, problem in exhausted(plan):
        raise BadFileError(f"feed {name!r}: {problem}", location=plan.scenario, hint="give it more rows, or another order")
