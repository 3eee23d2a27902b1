"""A restricted YAML loader: one document, no duplicate keys, no aliases, no tags, no values that change their type.

Scalars are null (`null`, `~`, empty), `true`, `false`, decimal numbers, and otherwise plain strings, so `on`, `no`, `12:30:45`,
`010`, `0x1f`, `1_000` and dates stay what was written. Built from PyYAML's events; nothing is ever constructed by a tag.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gates.spec.nodes import Node, Place, Scalar, Source
from gates.spec.nodes import Path as NodePath
from gates.spec.problems import Problem, SpecErrors, got

MOST_BYTES = 1024 * 1024
MOST_VALUES = 20_000
DEEPEST = 32
MOST_PROBLEMS = 50
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_REFUSED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_TAGS = {"tag:yaml.org,2002:str": yaml.ScalarEvent, "tag:yaml.org,2002:map": yaml.MappingStartEvent}
_TAGS["tag:yaml.org,2002:seq"] = yaml.SequenceStartEvent


def read(path: Path, name: str) -> tuple[Node, bytes]:
    """The document in the file at *path*, which its user knows as *name*, and its bytes.

    Raises SpecErrors: missing, a directory, too large, not text, empty, or anything that this loader refuses.
    """
    content = _content(path, name)
    return parse(_text(content, name), name), content


def parse(text: str, name: str) -> Node:
    """The document in *text*. Raises SpecErrors."""
    source = Source(name, tuple(_BREAK.split(text)))
    refused = _REFUSED.search(text)
    if refused is not None:
        place = Place(source, *_position(text[: refused.start()]))
        hint = "remove it, or write it as an escape in double quotes"
        raise SpecErrors([place.problem("", f"a character that YAML does not allow (got U+{ord(refused[0]):04X})", hint)])
    builder = _Builder(source)
    try:
        root = builder.document(yaml.parse(text, Loader=_PARSER))
    except yaml.YAMLError as error:
        raise SpecErrors([*builder.problems, _syntax(error, source)]) from None
    except _TooManyError:
        raise SpecErrors(builder.problems) from None
    if builder.problems:
        raise SpecErrors(builder.problems)
    if root is None:
        raise SpecErrors([_whole(name, "the file is empty", "expected a mapping that begins with `version: 1`")])
    return root


def scalar(text: str) -> Scalar:
    """What a plain scalar *text* means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit():
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SpecErrors(
            [_whole(name, "the file is not there", "check the path; paths are relative to the repository")]
        ) from None
    except IsADirectoryError:
        raise SpecErrors([_whole(name, "this is a directory, expected a YAML file")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecErrors([_whole(name, f"the file can't be read: {reason}")]) from None
    if len(content) > MOST_BYTES:
        raise SpecErrors(
            [_whole(name, "the file is larger than 1 MiB", "a spec is written by people; is this the right file?")]
        )
    return content


def _text(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8", "replace"))
        message = f"not UTF-8 text (got byte 0x{content[error.start]:02x})"
        raise SpecErrors([Problem(name, line, column, "", message, "is this a binary file?")]) from None
    if "\0" in text:
        line, column = _position(text[: text.index("\0")])
        raise SpecErrors([Problem(name, line, column, "", "a NUL byte", "is this a binary file?")])
    return text


def _position(before: str) -> tuple[int, int]:
    lines = _BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _whole(name: str, message: str, hint: str = "") -> Problem:
    return Problem(name, 0, 0, "", message, hint)


def _syntax(error: yaml.YAMLError, source: Source) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(source, mark.line + 1, mark.column + 1) if mark is not None else Place(source)
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    hint = "indent with spaces, and quote values that hold tabs" if "\\t" in str(parts[1]) else ""
    return place.problem("", "not valid YAML: " + (", ".join(str(part) for part in parts if part) or str(error)), hint)


class _TooManyError(Exception):
    """So much is wrong that listing more of it would not help."""


class _Builder:
    """Builds nodes from events and collects what is refused."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.values = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        seen = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    self._refuse(self._place(event), (), "a second document; expected one", "remove what follows `---`")
                    raise _TooManyError
                seen = True
                root = self._node(next(events), events, ())
        return (
            root
            if root is not None and (root.entries is not None or root.items is not None or root.scalar is not None)
            else None
        )

    def _place(self, event: Any) -> Place:
        return Place(self.source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, place: Place, path: NodePath, message: str, hint: str = "") -> None:
        self.problems.append(place.problem(path, message, hint))
        if len(self.problems) >= MOST_PROBLEMS:
            raise _TooManyError

    def _node(self, event: Any, events: Iterator[Any], path: NodePath, key: Place | None = None) -> Node:
        place = self._place(event)
        self._check(event, place, path)
        self.values += 1
        if self.values > MOST_VALUES:
            self._refuse(place, path, f"more than {MOST_VALUES:,} values", "is this the right file?")
            raise _TooManyError
        if isinstance(event, yaml.AliasEvent):
            return Node(place, key=key)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "") and event.tag is None
            return Node(place, scalar(event.value) if plain else event.value, key=key)
        if len(path) >= DEEPEST:
            self._refuse(place, path[:4], f"nested more than {DEEPEST} levels deep")
            raise _TooManyError
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(place, items=self._items(events, path), key=key)
        return Node(place, entries=self._entries(events, path), key=key)

    def _check(self, event: Any, place: Place, path: NodePath) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                place, path, f"an alias (got *{event.anchor})", "write the value out; aliases and anchors are not supported"
            )
            return
        if event.anchor is not None:
            self._refuse(place, path, f"an anchor (got &{event.anchor})", "remove it; aliases and anchors are not supported")
        if event.tag is not None and not isinstance(event, _TAGS.get(event.tag, ())):
            self._refuse(place, path, f"a tag {got(event.tag)}", "remove it; a value is what is written")

    def _items(self, events: Iterator[Any], path: NodePath) -> tuple[Node, ...]:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return tuple(items)

    def _entries(self, events: Iterator[Any], path: NodePath) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = self._place(event)
            key = self._key(event, events, place, path)
            node = self._node(next(events), events, (*path, key), place)
            if key in entries:
                first = entries[key].named
                self._refuse(
                    place, (*path, key), f"the key is there twice (first on line {first.line})", "remove one of the two"
                )
            entries.setdefault(key, node)
        return entries

    def _key(self, event: Any, events: Iterator[Any], place: Place, path: NodePath) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, events, (*path, "?"))
            if not isinstance(event, yaml.AliasEvent):
                self._refuse(
                    place, path, "a key that is a list or a mapping; expected text", 'quote it when it is text: "{name}"'
                )
            return "?"
        self._check(event, place, path)
        if event.value == "<<" and event.style in (None, ""):
            self._refuse(place, path, "a merge key", "write the values out; `<<` is not supported")
        elif not event.value:
            self._refuse(place, path, "an empty key; expected text")
        return str(event.value)
