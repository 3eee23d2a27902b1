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


class Truncated(Settings):
    """End the connection in the middle of a share of the responses."""

    share: Share


class Stale(Settings):
    """Answer a share of the requests with what the last request of the same method and path was answered."""

    share: Share


class Stall(Settings):
    """Let no answer through `for` a while at the end of `every` period, counted from the first request."""

    every: Annotated[Duration, Field(gt=0, le=3600)]
    for_: Annotated[Duration, Field(alias="for", gt=0, le=60)]

    @model_validator(mode="after")
    def _ends(self) -> Stall:
        if self.for_ >= self.every:
            raise ValueError("a stall that never ends; expected `for` to be less than `every`")
        return self


class ProxySettings(Settings):
    """Which responses the proxy touches and how; one response gets at most one defect.

    `method` and `path` (a beginning) narrow all but a stall to the requests that match.
    """

    delay: Delay | None = None
    errors: Errors | None = None
    wrong_body: WrongBody | None = None
    truncated: Truncated | None = None
    stale: Stale | None = None
    stall: Stall | None = None
    method: str = ""
    path: str = ""

    @model_validator(mode="after")
    def _fits(self) -> ProxySettings:
        shared = (self.delay, self.errors, self.wrong_body, self.truncated, self.stale)
        total = sum(part.share for part in shared if part)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares add up to {total:.0%}; expected at most 100 %")
        return self

    def injection(self) -> dict[str, Any]:
        """Plain JSON for the proxy's process: shares as numbers, times in seconds."""
        return self.model_dump(mode="json", by_alias=True)
