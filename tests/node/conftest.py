"""Real nodes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from node_process import NODE, RunningNode, Start, running_node


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes on this test's folder."""
    with ExitStack() as stack:

        def start_one(
            *arguments: str, folder: str = "data", name: str = "node-a", command: Sequence[str] = NODE, wait: bool = True
        ) -> RunningNode:
            running = running_node(tmp_path / folder, *arguments, name=name, command=command, wait=wait)
            return stack.enter_context(running)

        yield start_one


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One node for the tests of a module, which each use keys of their own."""
    with running_node(tmp_path_factory.mktemp("node"), "--mana", "100000") as running:
        yield running
