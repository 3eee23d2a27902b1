"""Finished parts of a long measurement, a line each, so that an interrupted one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class State:
    """The file at *path*; parts that were *made_of* something else (a seed, a design) are left in it and not read."""

    path: Path
    made_of: Mapping[str, Any]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        if not self.path.is_file():
            return
        wanted = json.loads(json.dumps(self.made_of))
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # cut off when the measurement was interrupted
            if line.pop("made_of", None) == wanted:
                yield line

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a finished part, on a line of its own also after one that was cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(max(0, file.seek(0, 2) - 1))
            cut_off = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut_off + json.dumps({"made_of": self.made_of, **line}).encode() + b"\n")
