"""A ledger and a job book in memory, with changes as the node's store applies them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from gates.node import jobbook, jobpages, ledger
from gates.node.submission import Submission, make_submission

T = TypeVar("T")
OWNER, OTHER, EXECUTOR = "did:key:owner", "did:key:other", "did:key:executor"


class Books:
    """The tables of both, in a database of their own."""

    def __init__(self) -> None:
        self.tx = sqlite3.connect(":memory:", isolation_level=None)
        self.tx.execute("PRAGMA foreign_keys = ON")
        self.tx.executescript(f"{ledger.TABLES};{jobbook.TABLES}")

    def close(self) -> None:
        self.tx.close()

    def read(self, statement: str, parameters: Any = ()) -> list[Any]:
        return self.tx.execute(statement, parameters).fetchall()

    def change(self, change: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """The answer of *change*; what it wrote is undone when it raises."""
        self.tx.execute("SAVEPOINT change")
        try:
            answer = change(self.tx, *arguments, **named)
        except Exception:
            self.tx.execute("ROLLBACK TO change")
            raise
        finally:
            self.tx.execute("RELEASE change")
        return answer

    def account(self, did: str) -> ledger.Account:
        found = ledger.account(self.read, did)
        assert found is not None
        return found

    def job(self, job: str) -> dict[str, Any]:
        found = jobpages.job(self.read, job)
        assert found is not None
        return found

    def balanced(self) -> dict[str, int]:
        """The audit, once it adds up."""
        sums = ledger.audit(self.read)
        assert sums["minted"] + sums["regenerated"] - sums["burned"] == sums["balances"] + sums["reserved"], sums
        assert sums["reserved"] == sums["held"], sums
        return sums


def echo(key: str | None = None, payload: str = "hello", cost: int = 10) -> Submission:
    """An Echo job."""
    return make_submission("bafyjobmanifest", {"kind": {"Echo": {"payload": payload}}}, cost, key)


def receipt(executor: str = EXECUTOR, result: str = "hello") -> dict[str, Any]:
    """What a job book wants to know from a receipt."""
    return {"executor_did": executor, "result_cid": f"cid of {result}", "cpu_ms": 1, "result": result}
