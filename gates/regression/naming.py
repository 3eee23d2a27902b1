"""What a benchmark is called, in every table, criterion and file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


RESERVED = ("", "control")  # no name at all, and the control's


def benchmark_name(group: str | None, name: str) -> str:
    """`test_success[3]` of the group `retry` is `retry.success[3]`."""
    short = name.removeprefix("test_")
    return f"{group}.{short}" if group else short


def unique(names: Sequence[str], identifiers: Sequence[str]) -> list[str]:
    """*names* of one suite; where two are the same, each gets its file's before it, and else is called as pytest does."""
    found = list(names)
    for more in (longer, str):
        twice = {name for name in found if found.count(name) > 1 or name in RESERVED}
        found = [more(each) if name in twice else name for name, each in zip(found, identifiers, strict=True)]
    return found


def alike(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """For each of our names the one to use beside theirs; both map a suite's names to what pytest calls the benchmark."""
    names = {identifier: name for name, identifier in theirs.items()}
    taken = {names[identifier] for identifier in ours.values() if identifier in names}
    return {name: names.get(identifier, identifier if name in taken else name) for name, identifier in ours.items()}


def longer(identifier: str) -> str:
    """`benchmarks/test_read.py::TestBig::test_all[3]` is `test_read.TestBig.all[3]`."""
    file, *within, last = identifier.split("::")
    return ".".join([Path(file).stem, *within, last.removeprefix("test_")])


def name_of(item: pytest.Item) -> str:
    """The name of the benchmark that pytest collected as *item*."""
    marker = item.get_closest_marker("benchmark")
    return benchmark_name(marker.kwargs.get("group") if marker else None, item.name)


def is_benchmark(item: pytest.Item) -> bool:
    """Whether *item* asks for the fixture `benchmark`."""
    return "benchmark" in getattr(item, "fixturenames", ())
