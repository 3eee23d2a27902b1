"""How requests come, as a scenario says it: a shape of the rate over time. Base dependencies only.

{rate: 100/s, for: 60 s}                                                    # constant
{shape: ramp, from: 10/s, to: 200/s, for: 60 s}
{shape: steps, steps: [{name: low, rate: 50/s, for: 20 s}, {rate: 100/s, for: 20 s}]}
{shape: burst, base: 20/s, peak: 300/s, length: 2 s, period: 10 s, for: 60 s}  # each period ends with the burst
{shape: spike, base: 50/s, peak: 500/s, at: 20 s, length: 5 s, for: 60 s}
{shape: poisson, rate: 100/s, for: 60 s}
{shape: soak, rate: 50/s, for: 8 h}
{shape: replay, file: data/arrivals.csv, speed: 2, for: 30 s}                  # `speed` and `for` are optional
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.fields import Duration, Rate, Settings
from gates.load.curve import MOST_PIECES, Piece, curve
from gates.load.mistakes import closest, mistake

HIGHEST_RATE = 200_000
LONGEST = 86_400.0
Some = Annotated[Rate, Field(gt=0, le=HIGHEST_RATE)]
Any_ = Annotated[Rate, Field(ge=0, le=HIGHEST_RATE)]
Length = Annotated[Duration, Field(gt=0, le=LONGEST)]
PhaseName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
Stretches = dict[str, tuple[float, float]]
TAKEN = ("warmup", "steady", "before", "fault", "recovery")


class Shape(Settings):
    """What all shapes but a replay have."""

    gaps: Literal["even", "exponential"] = "even"

    @property
    def seconds(self) -> float:
        """How long arrivals come."""
        raise NotImplementedError

    def pieces(self) -> tuple[Piece, ...]:
        """The rate over time, again and again until the time is over."""
        raise NotImplementedError

    def stretches(self, warmup: float) -> Stretches:
        """From and to, in seconds, of the parts that have a name, where the first *warmup* seconds are none of them."""
        return {}

    def own_mistakes(self) -> Iterable[InitErrorDetails]:
        """What is wrong with the values taken together."""
        return ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Shape:
        found = list(self.own_mistakes())
        if not found and self.seconds / sum(piece.seconds for piece in self.pieces()) * len(self.pieces()) > MOST_PIECES:
            found.append(mistake(f"more than {MOST_PIECES:,} changes of the rate; let them be longer", (), ""))
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self

    @property
    def mass(self) -> float:
        """How many arrivals come, as a number that need not be whole."""
        return curve(self.pieces(), self.seconds).total


class Timed(Shape):
    """A shape that is told how long it lasts."""

    for_: Length = Field(alias="for")

    @property
    def seconds(self) -> float:
        return self.for_


class Constant(Timed):
    """One rate all the time."""

    shape: Literal["constant"] = "constant"
    rate: Some

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(self.seconds, self.rate, self.rate),)


class Poisson(Constant):
    """One rate, with the gaps of clients that know nothing of each other: many short ones, a few long ones."""

    shape: Literal["poisson"]  # type: ignore[assignment]
    gaps: Literal["exponential"] = "exponential"


class Soak(Constant):
    """One rate for long; its phases `first` and `last` are the outer thirds of what is left after the warm-up."""

    shape: Literal["soak"]  # type: ignore[assignment]

    def stretches(self, warmup: float) -> Stretches:
        third = (self.seconds - warmup) / 3
        return {"first": (warmup, warmup + third), "last": (self.seconds - third, self.seconds)}


class Ramp(Timed):
    """From one rate to another, by the same amount in every second."""

    shape: Literal["ramp"]
    from_: Any_ = Field(alias="from")
    to: Any_

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(self.seconds, self.from_, self.to),)

    def own_mistakes(self) -> Iterable[InitErrorDetails]:
        if self.from_ == self.to == 0:
            yield mistake("a ramp from 0 to 0 has no request", ("to",), self.to)


class Rung(Settings):
    """One step of `steps`: a rate for a time; its name is that of a phase."""

    rate: Any_
    for_: Length = Field(alias="for")
    name: PhaseName = ""


class Steps(Shape):
    """One rate after another."""

    shape: Literal["steps"]
    steps: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=1000)]

    @property
    def seconds(self) -> float:
        return sum(each.for_ for each in self.steps)

    def pieces(self) -> tuple[Piece, ...]:
        return tuple(Piece(each.for_, each.rate, each.rate) for each in self.steps)

    def stretches(self, warmup: float) -> Stretches:
        found, start = Stretches(), 0.0
        for each in self.steps:
            if each.name:
                found[each.name] = (start, start + each.for_)
            start += each.for_
        return found

    def own_mistakes(self) -> Iterable[InitErrorDetails]:
        seen = set[str]()
        for number, each in enumerate(self.steps):
            if each.name in TAKEN:
                yield mistake("this is the name of another phase; choose one of your own", ("steps", number, "name"), each.name)
            if each.name and each.name in seen:
                yield mistake("another step has this name", ("steps", number, "name"), each.name)
            seen.add(each.name)
        if self.seconds > LONGEST:
            yield mistake(f"the steps last {self.seconds:g} s; expected at most {LONGEST:g} s", ("steps",), "")


class Burst(Timed):
    """A train of bursts: each period begins at the base rate and ends with a burst."""

    shape: Literal["burst"]
    base: Any_
    peak: Some
    length: Length
    period: Length

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(self.period - self.length, self.base, self.base), Piece(self.length, self.peak, self.peak))

    def own_mistakes(self) -> Iterable[InitErrorDetails]:
        if self.length >= self.period:
            yield mistake(f"a burst must be shorter than the period of {self.period:g} s", ("length",), self.length)
        if self.period > self.for_:
            yield mistake(f"no burst comes in {self.for_:g} s; expected at most that", ("period",), self.period)


class Spike(Timed):
    """One burst; the phases `spike` and `after` are what it was and what came of it."""

    shape: Literal["spike"]
    base: Any_
    peak: Some
    at: Length
    length: Length

    def pieces(self) -> tuple[Piece, ...]:
        after = self.for_ - self.at - self.length
        return (
            Piece(self.at, self.base, self.base),
            Piece(self.length, self.peak, self.peak),
            *((Piece(after, self.base, self.base),) if after > 0 else ()),
        )

    def stretches(self, warmup: float) -> Stretches:
        end = self.at + self.length
        return {"spike": (self.at, end), **({"after": (end, self.for_)} if end < self.for_ else {})}

    def own_mistakes(self) -> Iterable[InitErrorDetails]:
        if self.at + self.length > self.for_:
            text = f"the spike ends at {self.at + self.length:g} s, after the load, which lasts {self.for_:g} s"
            yield mistake(text, ("length",), self.length)


class Replayed(Settings):
    """Arrivals that were recorded; `gates.load.recording` describes the file."""

    shape: Literal["replay"]
    file: str
    speed: Annotated[float, Field(gt=0, le=1000)] = 1.0
    for_: Length | None = Field(default=None, alias="for")


SHAPES = {
    "constant": Constant,
    "ramp": Ramp,
    "steps": Steps,
    "burst": Burst,
    "spike": Spike,
    "poisson": Poisson,
    "soak": Soak,
    "replay": Replayed,
}


def _known(given: Any) -> Any:
    """*given*, whose shape is one that there is."""
    shape = given.get("shape", "constant") if isinstance(given, dict) else "constant"
    if isinstance(shape, str) and shape not in SHAPES:
        text = f"unknown shape; {closest(shape, SHAPES)}"
        raise ValidationError.from_exception_data("Arrivals", [mistake(text, ("shape",), shape)])
    return given


def _tag(given: Any) -> str:
    shape = given.get("shape") if isinstance(given, dict) else getattr(given, "shape", None)
    return f"shape {shape}" if shape in SHAPES else "shape constant"


# the tags are no keys, so that the place of an error is found by its path
Arrivals = Annotated[
    Annotated[Constant, Tag("shape constant")]
    | Annotated[Ramp, Tag("shape ramp")]
    | Annotated[Steps, Tag("shape steps")]
    | Annotated[Burst, Tag("shape burst")]
    | Annotated[Spike, Tag("shape spike")]
    | Annotated[Poisson, Tag("shape poisson")]
    | Annotated[Soak, Tag("shape soak")]
    | Annotated[Replayed, Tag("shape replay")],
    Discriminator(_tag),
    BeforeValidator(_known),
]
