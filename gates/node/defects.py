"""Seeded defects for drills: `python -m gates.node.defects NAME -- ARGUMENTS` changes the node, then starts it.

The node itself holds no defect. Each one writes what it did to `{data}/defect.jsonl`, a line with the time and the key, so that
a drill can tell a defect that was triggered from one that never had its effect.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gates.node import __main__ as command
from gates.node import peers, store
from gates.node.app import Node
from gates.node.jobs import Submission, job_id
from gates.node.store import Receipt, Store, StoreUnavailable

Tell = Callable[[str], None]
DELAY = 0.3
OVERSLEPT = 7.0
CLOSE_LOOK = 0.05


def ack_before_durable(tell: Tell) -> None:
    """A submission is answered at once; its commit comes 300 ms later, unless the node is killed before."""
    submit = Store.submit
    under_way: set[asyncio.Task[Any]] = set()

    async def later(self: Store, submission: Submission) -> None:
        await asyncio.sleep(DELAY)
        await submit(self, submission)

    async def too_early(self: Store, submission: Submission) -> Receipt:
        task = asyncio.create_task(later(self, submission))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        tell(submission.key)
        return Receipt(job_id(self.owner, submission.key), repeated=False)

    Store.submit = too_early  # type: ignore[method-assign]


def double_charge(tell: Tell) -> None:
    """A repeated key makes no second job, but is charged again."""
    repeat = Store._repeat

    def charge_again(self: Store, connection: sqlite3.Connection, submission: Submission, known: tuple[str, str]) -> Receipt:
        receipt = repeat(self, connection, submission, known)
        self._charge(connection, submission.cost)
        tell(submission.key)
        return receipt

    Store._repeat = charge_again  # type: ignore[method-assign]


def forget_keys(tell: Tell) -> None:
    """A repeated key is not known any more: the job is charged and stored once more under another id."""
    find, new_id = Store._find, Store._new_id
    index = "CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key"
    store._SCHEMA = store._SCHEMA.replace(index, index.replace("UNIQUE ", ""))
    times: dict[str, int] = {}

    def find_nothing(self: Store, connection: sqlite3.Connection, key: str) -> tuple[str, str] | None:
        if find(self, connection, key) is not None:
            tell(key)
            times[key] = times.get(key, 0) + 1
        return None

    def other_id(self: Store, key: str) -> str:
        return new_id(self, f"{key}\n{times[key]}" if key in times else key)

    Store._find = find_nothing  # type: ignore[method-assign]
    Store._new_id = other_id  # type: ignore[method-assign]


def slow_restart(tell: Tell) -> None:
    """A node that finds a database of an earlier life takes seconds before it serves."""
    open_store = Store.open

    def oversleep(self: Store, mana: int) -> None:
        if (self._folder / "node.db").exists():
            tell("asleep")
            time.sleep(OVERSLEPT)
            tell("awake")
        open_store(self, mana)

    Store.open = oversleep  # type: ignore[method-assign]


def refuse_when_peer_down(tell: Tell) -> None:
    """A node refuses jobs while one of its peers does not answer: one failure takes the whole federation down."""
    peers.PACE = CLOSE_LOOK
    submit = Node.submit

    async def refuse(self: Node, request: Request) -> Response:
        if self.peers.reachable < len(self.peers.urls):
            tell(request.headers.get("idempotency-key", ""))
            raise StoreUnavailable("a peer does not answer")
        return await submit(self, request)

    Node.submit = refuse  # type: ignore[method-assign]


DEFECTS: Mapping[str, Callable[[Tell], None]] = {
    "ack-before-durable": ack_before_durable,
    "double-charge": double_charge,
    "forget-keys": forget_keys,
    "slow-restart": slow_restart,
    "refuse-when-peer-down": refuse_when_peer_down,
}


def main(arguments: Sequence[str]) -> int:
    """Put the named defect in and run the node with the arguments behind `--`."""
    if len(arguments) < 2 or arguments[0] not in DEFECTS or arguments[1] != "--":
        sys.stderr.write(f"expected NAME -- NODE ARGUMENTS, where NAME is one of {', '.join(DEFECTS)}\n")
        return 2
    name, rest = arguments[0], arguments[2:]
    DEFECTS[name](_teller(command.parse(rest).data, name))
    return command.main(rest)


def _teller(folder: Path, name: str) -> Tell:
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "defect.jsonl").open("a", buffering=1)

    def tell(key: str) -> None:
        log.write(json.dumps({"defect": name, "time": time.time(), "key": key}) + "\n")

    return tell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
