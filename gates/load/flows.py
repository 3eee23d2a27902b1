"""Flows: one user journey each, a request or several, with checks on what comes back.

The shape, in a scenario's `flows:`, in a file under `workflows/flows/`, or as a plain mapping from an entry point of the group
`gates.flows` (the object is a mapping from flow name to such a definition, or a function without arguments that returns one)::

    submit_job:
      summary: A client submits a mesh job.         # optional
      endpoint: any                                 # optional; `any` goes round all endpoints, else the name of one
      variables: {account: did:key:alice}           # optional constants, text or numbers
      value: {cost_mana: 10}                        # optional, small JSON: recorded as Operation.value (filled in)
      steps:                                        # one or more, in order, over one connection to one endpoint
        - method: POST                              # GET (default), POST, PUT, PATCH, DELETE, OPTIONS
          path: /mesh/submit                        # starts with a slash; variables are filled in
          headers: {Idempotency-Key: "{key}"}       # optional
          body: {manifest_cid: "cid-{n}", spec_json: {kind: Echo, payload: "{uuid}"}, cost_mana: 10}
                                                    # optional; a text is sent as it is, anything else as JSON
          fill: 1 MiB                               # optional; spaces behind the body, up to this size
          capture: {job_id: job_id}                 # optional; name: dotted path (`jobs.0.id`), JSON pointer (`/jobs/0/id`)
                                                    # or `header:NAME`; an empty path is the whole body; a capture that is
                                                    # not there is a wrong body, unless its place ends with `?`; such a one of
                                                    # a header is kept also of a refusal: retry_after: "header:Retry-After?"
          check:                                    # optional; without it any 2xx is right
            status: [200, 202]                      # one or several; default any 2xx
            json: {job_id: {type: string, matches: "^job-"}}
                                                    # path: value that it must equal, or some of equals, exists, type, matches,
                                                    # one_of, at_least, at_most
            body_contains: job_id                   # a text, or a list of texts
            headers: {Content-Type: {matches: json}}

`{name}` in path, headers, body, value and expected values is filled in; `{{name}}` stands for a literal `{name}`; a brace that
does not enclose a bare name is itself, so JSON texts need no escapes. Known names:

    {n}         number of the arrival in the schedule, from 0
    {key}       an idempotency key: unique for each arrival, the same for all steps of it, derived from the seed
    {uuid}      a UUID, unique for each arrival, derived from the seed
    {slot}      a number from 0 to 15 that many arrivals share, derived from the seed: what stands under it is contended
    {endpoint}  name of the endpoint that serves this arrival
    and the flow's constants, and what earlier steps captured. Any other name is an error at its line.

A flow's latency runs from its *intended* start to the end of its last step. Every response is checked; what fails a check
counts as an error of class `status`, `header` or `body`. For a recorded history a flow is one `model.Operation`: kind is the
flow's name, `key` is `{key}`, `value` as above and `answer` the mapping of all that was captured; status is `ok` when every
check held, `fail` when surely nothing was done (never sent, or refused by 4xx, 501 or 503 in its first step), else `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.errors import BadFileError
from gates.fields import Settings, Size
from gates.load.mistakes import mistake
from gates.load.template import BUILT_IN, names_in

ANY = "any"
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[^\r\n]*$")]
Status = Annotated[int, Field(ge=100, le=599)]
Scalar = str | int | float | bool


def _not_empty(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    if not steps:
        raise ValueError("expected at least one step")
    return steps


class ValueCheck(Settings):
    """What a value in a JSON body or a header must be."""

    equals: Any = None
    exists: bool | None = None
    type: Literal["string", "integer", "number", "boolean", "array", "object", "null"] | None = None
    matches: str | None = None
    one_of: tuple[Any, ...] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> ValueCheck:
        if not self.model_fields_set:
            raise ValueError("expected at least one of equals, exists, type, matches, one_of, at_least, at_most")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return self


class Check(Settings):
    """What a right answer looks like."""

    status: Status | Annotated[tuple[Status, ...], Field(min_length=1)] | None = None
    # a list is what a value must equal; a mapping is a ValueCheck, so that a misspelt condition is an error and never a literal
    json_values: Annotated[dict[str, ValueCheck | Scalar | list[Any] | None], Field(alias="json")] = {}
    body_contains: str | Annotated[tuple[str, ...], Field(min_length=1)] = ()
    headers: dict[str, ValueCheck | str] = {}


class Step(Settings):
    """One request and what must come back."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    headers: dict[HeaderName, HeaderValue] = {}
    body: Any = None
    fill: Annotated[Size, Field(ge=0, le=256 * 1024 * 1024)] = 0
    capture: dict[Name, str] = {}
    check: Check = Check()


class Flow(Settings):
    """One user journey; the docstring of this module describes it."""

    summary: str = ""
    endpoint: str = ANY
    variables: dict[Name, Scalar] = {}
    value: Any = None
    steps: Annotated[tuple[Step, ...], AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _knows_its_variables(self) -> Flow:
        known = {*BUILT_IN, *self.variables}
        mistakes: list[InitErrorDetails] = []
        for number, step in enumerate(self.steps):
            here = ("steps", number)
            for part, content in (("path", step.path), ("headers", step.headers), ("body", step.body)):
                mistakes += _undefined(content, known, (*here, part))
            known |= set(step.capture)
            mistakes += _undefined(_expected(step.check), known, (*here, "check"))
        mistakes += _undefined(self.value, known, ("value",))
        if mistakes:
            raise ValidationError.from_exception_data("Flow", mistakes)
        return self


class FlowsFile(Settings):
    """A file under `workflows/flows/`: flows by name."""

    version: Literal[1]
    flows: Annotated[dict[Name, Flow], Field(min_length=1)]


def registered_flows(plugins: Mapping[str, Any]) -> dict[str, Flow]:
    """The flows of the entry-point group `gates.flows`. Raises BadFileError when a plug-in's definition can't be used."""
    found: dict[str, Flow] = {}
    for plugin, given in plugins.items():
        for name, definition in (given() if callable(given) else given).items():
            try:
                found[name] = Flow.model_validate(definition)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(str(step) for step in first["loc"])
                raise BadFileError(f"{where}: {first['msg']}", location=f"flow {name!r} of plug-in {plugin!r}") from None
    return found


def _undefined(content: Any, known: Iterable[str], where: tuple[str | int, ...]) -> list[InitErrorDetails]:
    """Errors for names in *content*, any JSON value, that nobody defines; each at the text that uses it."""
    if isinstance(content, str):
        return [_unknown_name(name, known, where, content) for name in names_in(content) if name not in set(known)]
    if isinstance(content, Mapping):
        return [each for key, item in content.items() for each in _undefined(item, known, (*where, key))]
    if isinstance(content, (list, tuple)):
        return [each for index, item in enumerate(content) for each in _undefined(item, known, (*where, index))]
    return []


def _unknown_name(name: str, known: Iterable[str], where: tuple[str | int, ...], content: str) -> InitErrorDetails:
    names = ", ".join(f"{{{each}}}" for each in sorted(known))
    return mistake(f"undefined variable {{{name}}}; defined here: {names}", where, content)


def _expected(check: Check) -> dict[str, Any]:
    """The texts of a check that are filled in: expected values, never regular expressions."""

    def fillable(condition: Any) -> Any:
        return {"equals": condition.equals} if isinstance(condition, ValueCheck) else condition

    return {
        "json": {path: fillable(condition) for path, condition in check.json_values.items()},
        "headers": {name: fillable(condition) for name, condition in check.headers.items()},
        "body_contains": check.body_contains,
    }
