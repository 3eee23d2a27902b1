"""Seeded defects that only a power cut brings to light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gates.node.defects_tell import Tell


def commit_without_sync(tell: Tell) -> None:
    """Commits are answered when the kernel has them; nothing asks the disk."""
    from gates.node import storage

    connect = storage._connect

    def careless(path: Path, *, busy: float) -> Any:
        connection = connect(path, busy=busy)
        connection.execute("PRAGMA synchronous = OFF")
        tell(path.name)
        return connection

    storage._connect = careless
