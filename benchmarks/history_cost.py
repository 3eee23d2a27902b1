"""What a history of a million operations takes: bytes on disk, and seconds to write, to read and to check.

    python benchmarks/history_cost.py [--operations N]

Ends with 1 when a target is missed. Keys and identifiers are random, as real ones are, so nothing packs better than it would.
"""

from __future__ import annotations

import argparse
import base64
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from gates.history import record
from gates.history.access import Declared, accesses
from gates.history.effects import effects, lost
from gates.history.linear import linearity
from gates.history.staleness import staleness
from gates.history.statements import undecided
from gates.model import Operation

T = TypeVar("T")
MOST_BYTES = 100_000_000
MOST_SECONDS = 60.0
MILLION = 1_000_000
REGISTERS = Declared(("endpoint", "value.slot"), writes={"set": "value.to"}, reads={"get": "answer.to"})


def operations(count: int) -> Iterator[Operation]:
    """Jobs, and reads and writes of shared registers, a thousand a second; one in fifty has an unknown outcome."""
    dice, now = random.Random(1), 0.0
    held: dict[tuple[str, int], str] = {}
    for number in range(count):
        now += 0.001
        took, status = 0.0002 + 0.0006 * dice.random(), "unknown" if dice.random() < 0.02 else "ok"
        key, endpoint, slot = dice.randbytes(16).hex(), f"node-{'abc'[number % 3]}", dice.randrange(64)
        value: dict[str, object] = {"slot": slot}
        answer: dict[str, object] | None = None
        kind = ("submit_job", "submit_job", "set", "get")[dice.randrange(4)]
        if kind == "set":
            value["to"] = key[:12]
            held[endpoint, slot] = held.get((endpoint, slot), "") if status == "unknown" else key[:12]
        elif kind == "get":
            answer = {"to": held.get((endpoint, slot)) or None}
        else:
            value, answer = (
                {"cost_mana": 10},
                {"job_id": "bafkrei" + base64.b32encode(dice.randbytes(33)).decode().lower()[:52]},
            )
        done = status == "ok"
        yield Operation(
            number, kind, endpoint, key, status, now, now + took, 200 if done else 0, value, answer if done else None
        )


def timed(what: str, work: Callable[[], T]) -> tuple[T, float]:
    """Do *work* and print how long it took."""
    began = time.perf_counter()
    found = work()
    took = time.perf_counter() - began
    print(f"{what:<44} {took:8.2f} s")
    return found, took


def main() -> int:
    """Write, read, check, and compare with the targets, which are for a million operations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=MILLION)
    count = parser.parse_args().operations
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl.gz"
        timed("write (with making the operations)", lambda: record.write(path, operations(count)))
        size = path.stat().st_size
        recorded, reading = timed("read", lambda: record.read(path))
    history = recorded.operations
    jobs = [each for each in history if each.kind == "submit_job"]
    done = {each.key for each in jobs if each.status == "ok"}
    keys, finding = timed("take out the accesses of single keys", lambda: accesses(history, REGISTERS))
    checks = [
        timed("nothing acknowledged is lost", lambda: lost((each.key for each in jobs if each.status == "ok"), done)),
        timed("one effect a key", lambda: effects(jobs, done)),
        timed("what is undecided", lambda: undecided(history)),
        timed(f"linearizable ({sum(map(len, keys.values())):,} accesses)", lambda: linearity(keys)),
        timed("stale reads", lambda: staleness(keys)),
    ]
    linear = checks[3][0]
    assert recorded.complete
    assert not linear.broken, linear.broken  # type: ignore[attr-defined]
    seconds, scale = reading + finding + sum(took for _, took in checks), MILLION / count
    print(f"{count:,} operations: {size / 1e6:.1f} MB ({size / count:.1f} bytes each), read and checked in {seconds:.1f} s")
    within = size * scale <= MOST_BYTES and seconds * scale <= MOST_SECONDS
    print(f"target for a million: at most {MOST_BYTES / 1e6:g} MB and {MOST_SECONDS:g} s: {'held' if within else 'MISSED'}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
