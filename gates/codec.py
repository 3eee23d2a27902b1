"""Values of `gates.model` to canonical JSON and back.

Canonical form: UTF-8, keys sorted, no insignificant white space except one final newline, no NaN and no infinity. Reading is
strict: an unknown or missing key, a wrong type or a number that is not finite is a `BadFileError` that names its path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from gates.errors import BadFileError

T = TypeVar("T")
_LARGEST = 2**1023  # beyond it an integer is no float any more
TAG = "type"
_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that, alone, is no character and could never be written again
_PLAIN = frozenset({str, int, float, bool, type(None)})  # most values of a report: decided first, and by identity


def to_json(value: Any) -> Any:
    """Plain JSON values of a dataclass of the model; a member of a union carries its name as `type`."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    shape = _shape(kind)
    if shape is not None:
        tag, names = shape
        plain = {name: to_json(getattr(value, name)) for name in names}
        return {TAG: tag, **plain} if tag else plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


@cache
def _shape(cls: Any) -> tuple[str, tuple[str, ...]] | None:
    """The tag (empty when it has none) and the field names of a dataclass; None for any other class."""
    name = cls.__name__
    if not is_dataclass(cls):
        return None
    return name.lower() if name in _tagged() else "", tuple(f.name for f in fields(cls))


def dumps(value: Any) -> str:
    """The canonical text of *value*. Raises ValueError for a number that is not finite."""
    return json.dumps(to_json(value), ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n"


def digest(value: Any) -> str:
    """sha256 of the canonical text of *value*, in hex."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def write(path: Path, value: Any) -> str:
    """Write *value* to *path* so that a reader sees the old file or the whole new one; return the sha256 of the text."""
    text = dumps(value)
    replace(path, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def replace(path: Path, content: bytes) -> None:
    """Put *content* at *path* at once: written beside it, synced, renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path, cls: type[T]) -> T:
    """The *cls* in the file at *path*. Raises BadFileError (missing, not UTF-8, not JSON, not this shape)."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise BadFileError("the file is not there", location=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(f"the file can't be read: {error}", location=str(path)) from None
    return loads(text, cls, location=str(path))


def loads(text: str, cls: type[T], *, location: str = "") -> T:
    """The *cls* in a JSON *text*. Raises BadFileError with *location* and the path of the value."""
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
        if _HALF_OF_A_PAIR.search(text):
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadFileError(f"not valid JSON: {error}", location=location) from None
    return from_json(cls, data, location=location)


def from_json(cls: type[T], data: Any, *, location: str = "") -> T:
    """Build *cls* from plain JSON values, checking every key and type."""
    try:
        return typing.cast(T, _reader(typing.cast(Any, cls))(data, ""))
    except _Mismatch as mismatch:
        raise BadFileError(f"{mismatch.path or 'the whole'}: {mismatch}", location=location) from None


class _Mismatch(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


_Reader = Callable[[Any, str], Any]


@cache
def _tagged() -> frozenset[str]:
    from gates.model import Exhibit

    return frozenset(member.__name__ for member in typing.get_args(Exhibit))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


@cache
def _reader(hint: Any) -> _Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return _dataclass_reader(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_reader(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(_reader(arguments[1]))
    return _plain_reader(hint)


def _dataclass_reader(cls: Any) -> _Reader:
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]

    def read(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise _Mismatch(path, f"expected an object (got {_short(data)})")
        values = {key: item for key, item in data.items() if key != TAG or TAG in known}
        for key in values:
            if key not in known:
                raise _Mismatch(f"{path}.{key}".lstrip("."), "unknown key")
        for name in required:
            if name not in values:
                raise _Mismatch(f"{path}.{name}".lstrip("."), "missing")
        return cls(**{name: _reader(hints[name])(item, f"{path}.{name}".lstrip(".")) for name, item in values.items()})

    return read


def _enum_reader(cls: type[Enum]) -> _Reader:
    def read(data: Any, path: str) -> Any:
        try:
            return cls(data)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in cls)
            raise _Mismatch(path, f"expected one of {allowed} (got {_short(data)})") from None

    return read


def _union_reader(members: tuple[Any, ...]) -> _Reader:
    present = [member for member in members if member is not type(None)]
    if all(getattr(member, "__name__", "") in _tagged() for member in present):
        by_tag = {member.__name__.lower(): member for member in present}

        def read_tagged(data: Any, path: str) -> Any:
            tag = data.get(TAG) if isinstance(data, dict) else None
            if tag not in by_tag:
                raise _Mismatch(path, f"expected type to be one of {', '.join(by_tag)} (got {_short(tag)})")
            return _reader(by_tag[tag])(data, path)

        return read_tagged
    inner = _reader(present[0])
    return lambda data, path: None if data is None else inner(data, path)


def _tuple_reader(arguments: tuple[Any, ...]) -> _Reader:
    def read(data: Any, path: str) -> Any:
        if not isinstance(data, list):
            raise _Mismatch(path, f"expected a list (got {_short(data)})")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item_reader = _reader(arguments[0])
            return tuple(item_reader(item, f"{path}.{index}") for index, item in enumerate(data))
        if len(data) != len(arguments):
            raise _Mismatch(path, f"expected {len(arguments)} items (got {len(data)})")
        return tuple(_reader(hint)(item, f"{path}.{i}") for i, (hint, item) in enumerate(zip(arguments, data, strict=True)))

    return read


def _mapping_reader(inner: _Reader) -> _Reader:
    def read(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise _Mismatch(path, f"expected an object (got {_short(data)})")
        return {key: inner(item, f"{path}.{key}".lstrip(".")) for key, item in data.items()}

    return read


def _plain_reader(hint: Any) -> _Reader:
    def read(data: Any, path: str) -> Any:
        if isinstance(data, float) and not math.isfinite(data):
            raise _Mismatch(path, "not a finite number")
        if hint is Any:
            return data
        if isinstance(data, int) and abs(data) >= _LARGEST:
            raise _Mismatch(path, "not a number that can be calculated with")
        if hint is float and isinstance(data, (int, float)) and not isinstance(data, bool):
            return data
        if isinstance(data, hint) and (hint is bool or not isinstance(data, bool)):
            return data
        raise _Mismatch(path, f"expected {hint.__name__} (got {_short(data)})")

    return read


def _short(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
