"""How a seeded defect tells what it did, and whom it strikes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

Tell = Callable[[str], None]
ONE_IN = 16


def struck(cid: str) -> bool:
    """Whether a defect that strikes some strikes this one: the same ones on every node, and after every restart."""
    return sum(cid.encode()) % ONE_IN == 0


def teller(folder: Path, name: str) -> Tell:
    """What writes a line to `defect.jsonl` in *folder*, with the time and whom the defect *name* struck."""
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "defect.jsonl").open("a", buffering=1)

    def tell(key: str) -> None:
        log.write(json.dumps({"defect": name, "time": time.time(), "key": key}) + "\n")

    return tell
