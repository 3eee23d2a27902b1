"""A YAML document as a tree that remembers where everything was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gates.spec.problems import Problem, dotted

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text and the name by which its user knows it."""

    name: str
    lines: tuple[str, ...] = ()

    def line(self, number: int) -> str:
        """Line *number*, counted from 1; empty when there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a source, line and column counted from 1; 0 for the whole of it."""

    source: Source
    line: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        """`file:line`, as the plan keeps it."""
        return f"{self.source.name}:{self.line}" if self.line else self.source.name

    def problem(self, path: Path | str, message: str, hint: str = "") -> Problem:
        """A problem at this place."""
        name = path if isinstance(path, str) else dotted(path)
        return Problem(self.source.name, self.line, self.column, name, message, hint, self.source.line(self.line))


Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place, and the place of its key when it is in a mapping. Exactly one of three shapes.

    Attributes:
        scalar: the value of a scalar.
        items: the items of a list; None when it is not one.
        entries: the entries of a mapping in the order of the file; None when it is not one.
    """

    place: Place
    scalar: Scalar = None
    items: tuple[Node, ...] | None = None
    entries: Mapping[str, Node] | None = None
    key: Place | None = field(default=None)

    def plain(self) -> Any:
        """The value as plain JSON."""
        if self.entries is not None:
            return {key: node.plain() for key, node in self.entries.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.scalar

    def child(self, step: str | int) -> Node | None:
        """The value under a key or an index; None when there is none."""
        if self.entries is not None:
            return self.entries.get(str(step))
        if self.items is not None and isinstance(step, int) and 0 <= step < len(self.items):
            return self.items[step]
        return None

    def get(self, *path: str | int) -> Node | None:
        """The value at *path*; None when there is none."""
        node: Node | None = self
        for step in path:
            node = node.child(step) if node is not None else None
        return node

    def deepest(self, path: Sequence[str | int]) -> tuple[Node, Path]:
        """The last value that exists on the way along *path*, and its own path; steps that lead nowhere are passed over.

        Passing over matters for pydantic, whose paths name the members of a union as if they were keys.
        """
        node, taken = self, list[str | int]()
        for step in path:
            found = node.child(step)
            if found is not None:
                node = found
                taken.append(step)
        return node, tuple(taken)

    def walk_dotted(self, text: str) -> tuple[Node, Path, str]:
        """Follow dotted *text*, the longest existing key first; the node reached, its path, and what is left of the text."""
        node, taken, rest = self, list[str | int](), text
        while rest:
            step = node._longest_step(rest)
            if step is None:
                break
            key, rest = step
            taken.append(key)
            found = node.child(key)
            assert found is not None
            node = found
        return node, tuple(taken), rest

    def _longest_step(self, text: str) -> tuple[str | int, str] | None:
        for head, rest in _heads(text):
            step: str | int = int(head) if self.items is not None and head.isascii() and head.isdigit() else head
            if self.child(step) is not None:
                return step, rest
        return None

    def replaced(self, path: Path, new: Node) -> Node:
        """This tree with *new* at *path*; the last step may be a key that was not there."""
        if not path:
            return new
        step, rest = path[0], path[1:]
        if self.items is not None:
            items = tuple(item.replaced(rest, new) if index == step else item for index, item in enumerate(self.items))
            return Node(self.place, items=items, key=self.key)
        entries = dict(self.entries or {})
        here = entries.get(str(step))
        entries[str(step)] = here.replaced(rest, new) if here is not None else new
        return Node(self.place, entries=entries, key=self.key)

    @property
    def named(self) -> Place:
        """Where the value is named: its key's place, else its own."""
        return self.key or self.place


def _heads(text: str) -> Iterator[tuple[str, str]]:
    """Every way to cut *text* at a dot, the longest head first."""
    parts = text.split(".")
    for count in range(len(parts), 0, -1):
        yield ".".join(parts[:count]), ".".join(parts[count:])
