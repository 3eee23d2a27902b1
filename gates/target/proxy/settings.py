"""What a person may ask of the proxy."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from gates.fields import Duration, Ratio, Settings

Share = Annotated[Ratio, Field(ge=0, le=1)]


class Delay(Settings):
    """Hold a share of the responses back by a time."""

    share: Share
    by: Annotated[Duration, Field(ge=0, le=60)]


class Errors(Settings):
    """Replace a share of the responses by a refusal."""

    share: Share
    status: Annotated[int, Field(ge=400, le=599)] = 503


class WrongBody(Settings):
    """Replace the body of a share of the responses by another JSON text, with status 200 and the right length."""

    share: Share
    body: Any = {"unexpected": True}


class ProxySettings(Settings):
    """Which responses the proxy touches and how; one response gets at most one defect.

    `method` and `path` (a beginning) narrow it to the requests that match.
    """

    delay: Delay | None = None
    errors: Errors | None = None
    wrong_body: WrongBody | None = None
    method: str = ""
    path: str = ""

    @model_validator(mode="after")
    def _fits(self) -> ProxySettings:
        total = sum(part.share for part in (self.delay, self.errors, self.wrong_body) if part)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares add up to {total:.0%}; expected at most 100 %")
        return self

    def injection(self) -> dict[str, Any]:
        """Plain JSON for the proxy's process: shares as numbers, times in seconds."""
        return self.model_dump(mode="json")
