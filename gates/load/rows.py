"""Rows of a file of data: CSV with a header, or a JSON object a line, perhaps packed with gzip. Base dependencies only."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates.errors import BadFileError

MOST_BYTES = 1024 * 1024 * 1024
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its place.

    Attributes:
        line: counted from 1.
        values: by column; texts from CSV, any JSON from JSON lines.
        columns: where the value of each column begins in the line, counted from 1.
    """

    line: int
    values: Mapping[str, Any]
    columns: Mapping[str, int]


def content(path: Path, name: str) -> bytes:
    """The bytes of the file at *path*, which its user knows as *name*. Raises BadFileError when they can't be had."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadFileError("the file is larger than 1 GiB", location=name, hint="keep the part that matters")
        return path.read_bytes()
    except FileNotFoundError:
        hint = "check the path; paths are relative to the repository"
        raise BadFileError("the file is not there", location=name, hint=hint) from None
    except OSError as error:
        raise BadFileError(f"the file can't be read: {error.strerror or error}", location=name) from None


def unreadable(path: Path) -> str:
    """Why the file at *path* can't be read and what to do, for whoever names it; empty when it can."""
    try:
        with path.open("rb"):
            return ""
    except FileNotFoundError:
        return "the file is not there; check the path, which is relative to the repository"
    except OSError as error:
        return f"the file can't be read: {error.strerror or error}"


def digest(data: bytes) -> str:
    """sha256 of *data*, in hex."""
    return hashlib.sha256(data).hexdigest()


def rows(data: bytes, name: str) -> Iterator[Row]:
    """The rows in *data*, the content of a file called *name*, whose ending says what it is.

    Raises BadFileError at file:line:column: another ending, not packed, not UTF-8, no header, a row too short, not JSON.
    """
    plain = name.removesuffix(".gz")
    if not plain.endswith((".csv", ".jsonl")):
        raise BadFileError(f"unknown ending; expected {', '.join(ENDINGS)}", location=name)
    text = _text(_unpacked(data, name) if plain != name else data, name)
    return _csv_rows(text, name) if plain.endswith(".csv") else _json_rows(text, name)


def bad(name: str, row: Row, column: str, message: str, hint: str = "") -> BadFileError:
    """What is wrong with the value of *column*, with its place."""
    return BadFileError(message, location=f"{name}:{row.line}:{row.columns.get(column, 1)}", hint=hint)


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            found = packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadFileError(f"not a gzip file: {error}", location=name) from None
    if len(found) > MOST_BYTES:
        raise BadFileError("unpacked it is larger than 1 GiB", location=name, hint="keep the part that matters")
    return found


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"not UTF-8 text (got byte 0x{data[error.start]:02x})"
        raise BadFileError(message, location=f"{name}:{line}:{column}") from None


def _csv_rows(text: str, name: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise BadFileError("the file is empty; expected a header with the names of the columns", location=f"{name}:1:1")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    message = f"expected {len(header)} values as in the header, got {len(cells)}"
                    raise BadFileError(message, location=f"{name}:{line}:1")
                yield Row(line, dict(zip(header, cells, strict=True)), dict(zip(header, _starts(cells), strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFileError(f"not valid CSV: {error}", location=f"{name}:{reader.line_num}:1") from None


def _starts(cells: list[str]) -> Iterator[int]:
    """Where each of *cells* begins when none is quoted."""
    at = 1
    for cell in cells:
        yield at
        at += len(cell) + 1


def _json_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            column = getattr(error, "colno", 1)
            reason = getattr(error, "msg", str(error))
            raise BadFileError(f"not valid JSON: {reason}", location=f"{name}:{number}:{column}") from None
        if not isinstance(found, dict):
            raise BadFileError("expected a JSON object", location=f"{name}:{number}:1", hint='such as {"at": 1.5}')
        yield Row(number, found, {column: max(1, line.find(json.dumps(column)) + 1) for column in found})


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")
