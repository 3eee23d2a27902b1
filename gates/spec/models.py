"""The pydantic models of readiness.yaml. What a kind or a target preset adds is validated by its own settings model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from gates.fields import Duration, Settings
from gates.model import Severity

Level = Literal["quick", "standard", "full"]
Requirement = Literal["drills", "approvals"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Limit = str | int | float
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
COMPARATORS = ("below", "at_most", "above", "at_least", "equals")


class ProfileModel(Settings):
    """How much is run."""

    model_config = ConfigDict(populate_by_name=True)

    budget: Duration = Field(
        default=0.0, ge=0, description="What the whole run may take; the table of gates shows time against it."
    )
    as_: Level | None = Field(default=None, alias="as", description="Takes gates and values from this profile.")
    require: tuple[Requirement, ...] = Field(default=(), description="What else a release needs.")


class ComparisonModel(Settings):
    """Limits of one criterion, with units: `{below: 250 ms}`, `{below: 5 %, fail_above: 2 %}`."""

    below: Limit | None = None
    at_most: Limit | None = None
    above: Limit | None = None
    at_least: Limit | None = None
    equals: Limit | None = None
    fail_above: Limit | None = Field(default=None, description="Fails only when the whole interval lies above this.")
    fail_below: Limit | None = Field(default=None, description="Fails only when the whole interval lies below this.")
    severity: Severity | None = Field(default=None, description="blocking unless something else is said.")

    @model_validator(mode="after")
    def _compares(self) -> ComparisonModel:
        given = [name for name in COMPARATORS if getattr(self, name) is not None]
        if not given:
            raise ValueError(f"no limit; expected one of {', '.join(COMPARATORS)}")
        if self.fail_above is not None and not {"below", "at_most"} & set(given):
            raise ValueError("fail_above goes with below or at_most")
        if self.fail_below is not None and not {"above", "at_least"} & set(given):
            raise ValueError("fail_below goes with above or at_least")
        return self


class GateModel(Settings):
    """One gate. Every key that is not listed here is a setting of its kind."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(description="What measures: tests, benchmarks, load, validation, drills, command or a plug-in's.")
    criteria: dict[str, ComparisonModel | tuple[ComparisonModel, ...]] = Field(
        default_factory=dict, description="Limits by `metric[@phase][/selector]`."
    )
    summary: str = Field(default="", max_length=500, description="One sentence for the report.")
    needs: tuple[str, ...] = Field(default=(), description="Gates that must have passed before.")
    limit: Duration | None = Field(default=None, gt=0, description="Wall-clock limit; 4 times the expected time if not given.")
    budget: Duration | None = Field(default=None, gt=0, description="The time that the gate is expected to take.")
    profiles: tuple[str, ...] | None = Field(default=None, min_length=1, description="Planned in these profiles only.")
    target: Any = Field(default=None, description="Overrides the target of the spec.")


class ClaimModel(Settings):
    """A sentence that somebody relies on, and the criteria that show it."""

    say: Sentence
    by: tuple[str, ...] = Field(min_length=1, description="`gate:criterion`, or with `*` for several.")


class SpecModel(Settings):
    """readiness.yaml: what must hold before a build may be released."""

    version: Literal[1]
    target: Any = Field(default=None, description="The system under test: one preset with its settings.")
    profiles: dict[Name, ProfileModel] = Field(default_factory=dict)
    gates: dict[Name, GateModel] = Field(min_length=1)
    claims: tuple[ClaimModel, ...] = ()
