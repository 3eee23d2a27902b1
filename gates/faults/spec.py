"""How a scenario writes its faults.

::

    faults:
      - {at: 33 %, for: 20 %, crash: {node: node-b}}
      - {at: 60 %, for: 20 %, way: proxy, partition: {nodes: [node-b]}}
      - {at: 85 %, for: 10 %, way: [namespace, proxy], partition: {nodes: [node-b]}}      # a fallback, by name

The keys are the names of the entry points in the group `gates.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, model_validator

from gates import registry
from gates.faults.timeline import PlannedFault
from gates.faults.ways import ways_of
from gates.fields import WITH_UNITS, Ratio, Settings

KEYS: Mapping[str, Any] = registry.plugins(registry.FAULTS)
_HAIR = 1e-9
"""What sums of shares may be off by, where numbers are binary."""


class FaultBase(Settings):
    """One fault: when it starts and how long it lasts, in shares of the load's duration, and what it is.

    Attributes:
        at: the start.
        lasting: the length, written `for`.
        way: the ways to cause it, of which the first that works here is used; without it, the fault's first one alone.
    """

    at: Ratio = Field(ge=0, lt=1)
    lasting: Ratio = Field(alias="for", gt=0, le=1)
    way: str | Annotated[tuple[str, ...], Field(min_length=1)] = ()

    @model_validator(mode="after")
    def _one(self) -> FaultBase:
        if sum(getattr(self, _field(key)) is not None for key in KEYS) != 1:
            raise ValueError(f"expected exactly one of {', '.join(KEYS)}")
        return self

    @model_validator(mode="after")
    def _known_way(self) -> FaultBase:
        names = [way.name for way in ways_of(KEYS[self.key]) if way.name]
        unknown = [way for way in self.ways if way not in names]
        if unknown:
            raise ValueError(f"{self.key} has no way {unknown[0]!r}; it has {', '.join(names) or 'only one, without a name'}")
        if len(set(self.ways)) < len(self.ways):
            raise ValueError(f"a way of {self.key} is named twice: {', '.join(self.ways)}")
        return self

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that are named, in the order in which they are tried."""
        return (self.way,) if isinstance(self.way, str) else self.way

    @property
    def key(self) -> str:
        """The key that says which fault it is."""
        return next(key for key in KEYS if getattr(self, _field(key)) is not None)

    @property
    def settings(self) -> Any:
        """What is under that key."""
        return getattr(self, _field(self.key))

    def mentions(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Each endpoint that it names, with its place below the key."""
        settings = self.settings
        if hasattr(settings, "mentions"):
            yield from settings.mentions()
        elif hasattr(settings, "node"):
            yield ("node",), settings.node

    @model_validator(mode="after")
    def _within(self) -> FaultBase:
        if self.at + self.lasting > 1 + _HAIR:
            raise ValueError(f"the fault ends after the load: at and for together are {(self.at + self.lasting) * 100:g} %")
        return self


def _field(key: str) -> str:
    return key.replace("-", "_")


if TYPE_CHECKING:
    FaultSpec = FaultBase
else:
    FaultSpec = create_model(
        "FaultSpec",
        __base__=FaultBase,
        __doc__=FaultBase.__doc__,
        **{_field(key): (fault.settings | None, Field(default=None, alias=key)) for key, fault in KEYS.items()},
    )


def overlaps(faults: Sequence[PlannedFault]) -> tuple[tuple[int, int], ...]:
    """The numbers of each two faults of which the second starts before the first has ended; touching is no overlap."""
    found, last = list[tuple[int, int]](), -1
    for number in sorted(range(len(faults)), key=lambda number: faults[number].start):
        if last >= 0 and faults[number].start < faults[last].end - _HAIR:
            found.append((last, number))
        if last < 0 or faults[number].end > faults[last].end:
            last = number
    return tuple(found)


def planned(fault: FaultSpec, seconds: float) -> PlannedFault:
    """*fault* in seconds of a load that lasts *seconds*."""
    kind, settings = KEYS[fault.key], fault.settings.model_dump(mode="json", by_alias=True, context=WITH_UNITS)
    start = fault.at * seconds
    return PlannedFault(kind.name, settings, start, start + fault.lasting * seconds, kind.nodes(settings), asked=fault.ways)
