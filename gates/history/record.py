"""A history on disk: gzipped JSON lines, one array an operation, closed by a line that counts them.

An operation takes about 62 bytes, most of them its key and a content identifier, which are random and can't be shorter.
The file is usable at any time: what was written before a crash can be read, and `complete` says that the end is missing.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

from gates.errors import BadFileError
from gates.model import Operation

MEDIA_TYPE = "application/gzip"
_FIELDS = [field.name for field in fields(Operation)]
_STATUSES = ("ok", "fail", "unknown")
_PRECISION = 6
_VALUES = attrgetter(*_FIELDS)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Recorded:
    """A history as read; *complete* is false when the file ends early."""

    operations: tuple[Operation, ...]
    complete: bool


class Recorder:
    """Writes operations to *path* as they come; leaving the context closes the history, also after an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0

    def __enter__(self) -> Recorder:
        self._file = gzip.open(self._path, "wt", encoding="utf-8", compresslevel=6)  # noqa: SIM115 -- closed by __exit__
        self._line({"fields": _FIELDS})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._line({"end": self._written})
        self._file.close()

    def add(self, operations: Iterable[Operation]) -> None:
        """Append *operations*."""
        for operation in operations:
            self._line([round(value, _PRECISION) if type(value) is float else value for value in _VALUES(operation)])
            self._written += 1

    def _line(self, value: Any) -> None:
        self._file.write(_encode(value) + "\n")


def write(path: Path, operations: Iterable[Operation]) -> None:
    """The whole history *operations* to *path*."""
    with Recorder(path) as recorder:
        recorder.add(operations)


def read(path: Path) -> Recorded:
    """The history at *path*. Raises BadFileError when it is not there or is no history; an early end is no error."""
    lines = _lines(path)
    if next(lines, None) != {"fields": _FIELDS}:
        raise BadFileError("not a history: its first line does not name the fields of an operation", location=str(path))
    operations: list[Operation] = []
    for number, line in enumerate(lines, start=2):
        if isinstance(line, dict):
            return Recorded(tuple(operations), complete=line == {"end": len(operations)})
        operations.append(_operation(line, f"{path}:{number}"))
    return Recorded(tuple(operations), complete=False)


def _operation(line: Any, location: str) -> Operation:
    if not isinstance(line, list) or len(line) != len(_FIELDS):
        raise BadFileError(f"expected an array of {len(_FIELDS)} values", location=location)
    operation = Operation(*line)
    if operation.status not in _STATUSES:
        raise BadFileError(f"expected a status of {', '.join(_STATUSES)} (got {operation.status!r})", location=location)
    return operation


def _lines(path: Path) -> Iterator[Any]:
    """The decoded lines up to the end of the file, or up to where it was cut off."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    return
                yield json.loads(line)
    except (EOFError, zlib.error):
        return
    except FileNotFoundError:
        raise BadFileError("the history is not there", location=str(path)) from None
    except (OSError, ValueError) as error:
        raise BadFileError(f"not a history: {error}", location=str(path)) from None
