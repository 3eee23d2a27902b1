"""Field types for pydantic models of files that people write: quantities with units, held in base units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from gates.model import Unit
from gates.quantity import EXAMPLES, parse


class Settings(BaseModel):
    """Base of every model that reads a person's file: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _quantity(unit: Unit) -> Any:
    schema = {"type": ["string", "number"], "description": f"such as {EXAMPLES[unit]}"}
    return (BeforeValidator(lambda value: parse(value, unit)), WithJsonSchema(schema))


Duration = Annotated[float, *_quantity(Unit.SECONDS)]
Ratio = Annotated[float, *_quantity(Unit.RATIO)]
Rate = Annotated[float, *_quantity(Unit.RATE)]
Size = Annotated[float, *_quantity(Unit.BYTES)]
