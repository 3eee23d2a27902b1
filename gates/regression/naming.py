"""What a benchmark is called, in every table, criterion and file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def benchmark_name(group: str | None, name: str) -> str:
    """`test_success[3]` of the group `retry` is `retry.success[3]`."""
    short = name.removeprefix("test_")
    return f"{group}.{short}" if group else short


def name_of(item: pytest.Item) -> str:
    """The name of the benchmark that pytest collected as *item*."""
    marker = item.get_closest_marker("benchmark")
    return benchmark_name(marker.kwargs.get("group") if marker else None, item.name)


def is_benchmark(item: pytest.Item) -> bool:
    """Whether *item* asks for the fixture `benchmark`."""
    return "benchmark" in getattr(item, "fixturenames", ())
