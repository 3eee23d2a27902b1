"""The fault `clock`: a process is told a wrong time of day; its monotonic clock stays right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field, field_validator

from gates.faults.looker import struck
from gates.faults.node_fault import Neighbour, NodeFault, NodeSettings
from gates.faults.watch import Watch
from gates.faults.workshop import Workshop, control_of
from gates.fields import Duration
from gates.model import Way
from gates.target import RunningTarget

WITNESS = """
import time
while True:
    print(time.time(), flush=True)
    time.sleep(0.02)
"""


class ClockSettings(NodeSettings):
    """`clock: {node: node-b, by: 1 h}`.

    Attributes:
        by: how far it goes wrong at once, back with a minus sign; it jumps back when the fault ends.
    """

    by: Annotated[Duration, Field(ge=-1e9, le=1e9)]

    @field_validator("by")
    @classmethod
    def _some(cls, value: float) -> float:
        if abs(value) < 1:
            raise ValueError("expected at least 1 s forward or back")
        return value


class ClockJump(NodeFault):
    """Tells a process a wrong time of day: a jump at the start, skew while it lasts, a jump back in the end."""

    name = "clock"
    ways = (Way("preload", ("data", "start"), ("preload",), summary="a preloaded library adds to what it is told"),)
    settings = ClockSettings

    def fit(self, shop: Workshop, settings: Mapping[str, Any], way: str) -> None:
        """Have the process started with the library."""
        shop.shim(self.nodes(settings)[0])

    @contextmanager
    def apply(
        self, target: RunningTarget, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic, way: str = ""
    ) -> Iterator[Watch]:
        """Go wrong on entering, be right on leaving."""
        asked = ClockSettings.model_validate(settings)
        control, last, tries = control_of(target, asked.node), False, 0

        def look() -> bool:
            nonlocal last, tries
            lines = witness.lines()
            if lines:
                last, tries = abs(float(lines[-1]) - time.time()) > abs(asked.by) / 2, tries + len(lines)
            return last

        with Neighbour(WITNESS, env=control.environment()) as witness:
            witness.start()
            with struck(
                look,
                clock,
                cause=lambda: control.offset(asked.by),
                heal=lambda: control.offset(0),
                how=lambda: f"what a witness with the same library was told, {tries} times; {control.get('told')} lies in all",
            ) as watch:
                yield watch
