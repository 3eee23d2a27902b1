"""The files of data that a scenario names: rows of feeds, recorded arrivals, bodies. Base dependencies only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails

from gates.load.arrivals import Replayed
from gates.load.flows import Flow, sent_files
from gates.load.mistakes import mistake
from gates.load.rows import unreadable

if TYPE_CHECKING:
    from gates.load.scenario import Scenario

Place = tuple[str | int, ...]


def unreadable_files(scenario: Scenario, root: Path) -> Iterator[InitErrorDetails]:
    """A mistake at each key that names a file which can't be read; paths are relative to *root*."""
    for where, file in _named(scenario):
        if problem := unreadable(root / file):
            yield mistake(f"{file}: {problem}", where, file)


def _named(scenario: Scenario) -> Iterator[tuple[Place, str]]:
    """Places in *scenario*, and the file that each names."""
    yield from ((("feeds", name, "file"), feed.file) for name, feed in scenario.feeds.items())
    if isinstance(scenario.arrivals, Replayed):
        yield ("arrivals", "file"), scenario.arrivals.file
    own: dict[Place, Flow] = {("flows", name): flow for name, flow in scenario.flows.items()}
    own |= {(key,): flow for key, flow in (("setup", scenario.setup), ("teardown", scenario.teardown)) if flow}
    yield from (((*here, *where), file) for here, flow in own.items() for where, file in sent_files(flow))
    # what a flow from elsewhere sends is told where the mix names that flow: the scenario has no nearer place
    foreign = [name for name in scenario.mix if name not in scenario.flows and name in scenario.around.flows]
    yield from ((("mix", name, "[key]"), file) for name in foreign for _, file in sent_files(scenario.around.flows[name]))
