"""Field types for pydantic models of files that people write: quantities with units, held in base units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SerializationInfo, WithJsonSchema

from gates.model import Unit
from gates.quantity import EXAMPLES, parse


class Settings(BaseModel):
    """Base of every model that reads a person's file: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


WITH_UNITS = {"units": True}
"""As the context of `model_dump`, it writes quantities with their units, so that the model can read them again."""
_SUFFIXES = {Unit.SECONDS: " s", Unit.RATIO: " %", Unit.RATE: "/s", Unit.BYTES: " B"}


def _quantity(unit: Unit) -> Any:
    def written(value: float, info: SerializationInfo) -> Any:
        if not (info.context or {}).get("units"):
            return value
        return f"{value * 100 if unit is Unit.RATIO else value!r}{_SUFFIXES[unit]}"

    schema = {"type": ["string", "number"], "description": f"such as {EXAMPLES[unit]}"}
    return (
        BeforeValidator(lambda value: parse(value, unit)),
        PlainSerializer(written, return_type=Any),
        WithJsonSchema(schema),
    )


Duration = Annotated[float, *_quantity(Unit.SECONDS)]
Ratio = Annotated[float, *_quantity(Unit.RATIO)]
Rate = Annotated[float, *_quantity(Unit.RATE)]
Size = Annotated[float, *_quantity(Unit.BYTES)]
