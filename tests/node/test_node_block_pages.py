"""All blocks of a node, page by page, as who audits it reads them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from block_stores import AUTHOR, with_dag

from gates.node.cid import RAW, cid_of
from gates.node.dag import Dag
from gates.node.storage import SqliteStorage

SMALL = [bytes([number]) * 100 for number in range(7)]


@pytest.mark.parametrize(
    ("limit", "most", "pages"),
    [(10, 10_000, [7]), (7, 10_000, [7, 0]), (3, 10_000, [3, 3, 1]), (10, 250, [2, 2, 2, 1]), (10, 1, [1] * 7 + [])],
    ids=["one page", "just one page", "by count", "by bytes", "at least one"],
)
def test_pages_hold_every_block_once_in_the_order_of_their_commits(
    tmp_path: Path, limit: int, most: int, pages: list[int]
) -> None:
    """However small the pages are; the last one says that there are no more."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        cids = [await blocks.put(data, RAW, AUTHOR) for data in SMALL]
        after: int | None = 0
        found, sizes = [], []
        while after is not None:
            page, after = blocks.page(after, limit, most)
            found += page
            sizes.append(len(page))
        assert found == list(zip(cids, SMALL, strict=True))
        assert sizes == pages

    with_dag(tmp_path / "dag.db", use)


def test_damaged_bytes_are_shown_as_they_are(tmp_path: Path) -> None:
    """An auditor hashes them itself; a node that hid them would hide its damage."""

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        cid = await blocks.put(b"whole", RAW, AUTHOR)
        with closing(sqlite3.connect(store.path)) as other, other:
            other.execute("UPDATE blocks SET data = ?", (b"spoilt",))
        assert blocks.page(0, 10, 1000) == ([(cid, b"spoilt")], None)
        assert cid_of(b"spoilt") != cid

    with_dag(tmp_path / "dag.db", use)
