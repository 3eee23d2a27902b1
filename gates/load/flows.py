"""Flows: one user journey each, a request or several, with checks on what comes back.

The shape, in a scenario's `flows:`, in a file under `workflows/flows/`, or as a plain mapping from an entry point of the group
`gates.flows` (the object is a mapping from flow name to such a definition, or a function without arguments that returns one;
a coroutine function in place of a definition, or of the object, is a flow in Python: `gates.load.users`)::

    submit_job:
      summary: A client submits a mesh job.         # optional
      endpoint: any                                 # optional; `any` goes round all endpoints, else the name of one
      tags: [write]                                 # optional; criteria select by them: latency.p99@steady/tag:write
      variables: {account: did:key:alice}           # optional constants, text or numbers
      value: {cost_mana: 10}                        # optional, small JSON: recorded as Operation.value (filled in)
      steps:                                        # one or more, in order, over one connection to one endpoint
        - method: POST                              # GET (default), POST, PUT, PATCH, DELETE, OPTIONS
          path: /mesh/submit                        # starts with a slash; variables are filled in
          think: {from: 100 ms, to: 2 s}            # optional, not of the first step: a pause before it, seeded; or one time
          headers: {Idempotency-Key: "{key}"}       # optional
          body: {manifest_cid: "cid-{n}", spec_json: {kind: Echo, payload: "{uuid}"}, cost_mana: 10}
                                                    # optional; a text is sent as it is, anything else as JSON; instead of it
                                                    # body_file: data/picture.png
          fill: 1 MiB                               # optional; spaces behind the body, up to this size
          chunked: true                             # optional; the body comes in chunks of 16 KiB, without a length
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
    {FEED.COLUMN}, {setup.NAME}  from the row of a feed that this arrival takes (`gates.load.feeds`), and from the set-up
    and the flow's constants, and what earlier steps captured. Any other name is an error at its line.

A flow's latency runs from its *intended* start to the end of its last step, without the pauses in which the user thought: each
is measured, from the answer before it to the request after it, and taken off. Every response is checked; what fails a check
counts as an error of class `status`, `header` or `body`. For a recorded history a flow is one `model.Operation`: kind is the
flow's name, `key` is `{key}`, `value` as above and `answer` the mapping of all that was captured; status is `ok` when every
check held, `fail` when surely nothing was done (never sent, or refused by 4xx, 501 or 503 in its first step), else `unknown`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.errors import BadFileError
from gates.fields import Duration, Settings, Size
from gates.load.mistakes import mistake
from gates.load.template import BUILT_IN, names_in

ANY = "any"
LARGEST_BODY = 256 * 1024 * 1024
LONGEST_THOUGHT = 600
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[^\r\n]*$")]
Status = Annotated[int, Field(ge=100, le=599)]
TagName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Thought = Annotated[Duration, Field(ge=0, le=LONGEST_THOUGHT)]
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


class Pause(Settings):
    """A time between two, drawn from the seed for each arrival."""

    from_: Thought = Field(alias="from")
    to: Thought

    @model_validator(mode="after")
    def _makes_sense(self) -> Pause:
        if self.from_ > self.to:
            raise ValidationError.from_exception_data("Pause", [mistake("expected at least `from`", ("to",), self.to)])
        return self


NO_PAUSE = Pause.model_validate({"from": "0 s", "to": "0 s"})


def _as_pause(given: Any) -> Any:
    """One time stands for a pause that is always that long."""
    return {"from": given, "to": given} if isinstance(given, (str, int, float)) else given


class Step(Settings):
    """One request and what must come back."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    headers: dict[HeaderName, HeaderValue] = {}
    think: Annotated[Pause, BeforeValidator(_as_pause, json_schema_input_type=Thought | Pause)] = NO_PAUSE
    body: Any = None
    body_file: str | None = None
    fill: Annotated[Size, Field(ge=0, le=LARGEST_BODY)] = 0
    chunked: bool = False
    capture: dict[Name, str] = {}
    check: Check = Check()

    @model_validator(mode="after")
    def _has_one_body(self) -> Step:
        found = []
        if self.body is not None and self.body_file is not None:
            found.append(mistake("there is body already; one body is sent", ("body_file",), self.body_file))
        if self.chunked and self.body is None and self.body_file is None and not self.fill:
            found.append(mistake("there is no body to send in chunks", ("chunked",), True))
        if found:
            raise ValidationError.from_exception_data("Step", found)
        return self

    @property
    def thought(self) -> tuple[float, float]:
        """The shortest and the longest time that the user thinks before it, in seconds."""
        return self.think.from_, self.think.to


class Flow(Settings):
    """One user journey; the docstring of this module describes it."""

    summary: str = ""
    endpoint: str = ANY
    tags: tuple[TagName, ...] = ()
    variables: dict[Name, Scalar] = {}
    value: Any = None
    steps: Annotated[tuple[Step, ...], AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _knows_its_variables(self) -> Flow:
        known = {*BUILT_IN, *self.variables}
        mistakes: list[InitErrorDetails] = []
        if self.steps[0].thought != (0, 0):
            mistakes.append(
                mistake("the first step comes when the arrival does; think before a later one", ("steps", 0, "think"), "")
            )
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


class PythonFlow(Settings):
    """A flow in Python; *python* says where it is: `plug-in` or `plug-in:name`."""

    python: str
    summary: str = ""
    endpoint: str = ANY
    tags: tuple[TagName, ...] = ()


AnyFlow = Flow | PythonFlow


class FlowsFile(Settings):
    """A file under `workflows/flows/`: flows by name."""

    version: Literal[1]
    flows: Annotated[dict[Name, Flow], Field(min_length=1)]


def registered_flows(plugins: Mapping[str, Any]) -> dict[str, AnyFlow]:
    """The flows of the entry-point group `gates.flows`. Raises BadFileError when a plug-in's definition can't be used."""
    found: dict[str, AnyFlow] = {}
    for plugin, given in plugins.items():
        if _is_python(given):
            found[plugin.replace("-", "_")] = _python_flow(given, plugin)
            continue
        for name, definition in (given() if callable(given) else given).items():
            if _is_python(definition):
                found[name] = _python_flow(definition, f"{plugin}:{name}")
                continue
            try:
                found[name] = Flow.model_validate(definition)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(str(step) for step in first["loc"])
                raise BadFileError(f"{where}: {first['msg']}", location=f"flow {name!r} of plug-in {plugin!r}") from None
    return found


def python_flow(reference: str, plugins: Mapping[str, Any]) -> Any:
    """The coroutine function that *reference* of a `PythonFlow` means. Raises BadFileError when it is not there any more."""
    plugin, _, name = reference.partition(":")
    given = plugins.get(plugin)
    found = given if not name else (given() if callable(given) else given or {}).get(name)
    if not _is_python(found):
        raise BadFileError(f"there is no flow {reference!r} in Python", hint="install the plug-in that the plan was made with")
    return found


def dotted(flow: Flow) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places in *flow* that want a name with a dot, such as `users.name`, and the name."""
    contents: list[tuple[tuple[str | int, ...], Any]] = [(("value",), flow.value)]
    for number, step in enumerate(flow.steps):
        parts = {"path": step.path, "headers": step.headers, "body": step.body, "check": _expected(step.check)}
        contents += [(("steps", number, part), content) for part, content in parts.items()]
    for where, content in contents:
        yield from ((place, name) for place, name in _wanted(content, where) if "." in name)


def sent_files(flow: AnyFlow) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places in *flow* that name a file to send, and the file."""
    steps = flow.steps if isinstance(flow, Flow) else ()
    yield from ((("steps", n, "body_file"), step.body_file) for n, step in enumerate(steps) if step.body_file is not None)


def longest_thought(flows: Mapping[str, Any]) -> float:
    """For how many seconds the user of one arrival may think, in any of *flows* as a plan has them."""
    steps = [Flow.model_validate(flow).steps for flow in flows.values() if "python" not in flow]
    return max((sum(step.thought[1] for step in each) for each in steps), default=0.0)


def _is_python(given: Any) -> bool:
    return inspect.iscoroutinefunction(given) or (callable(given) and inspect.iscoroutinefunction(type(given).__call__))


def _python_flow(given: Any, reference: str) -> PythonFlow:
    summary = (inspect.getdoc(given) or "").partition("\n")[0]
    return PythonFlow(python=reference, summary=summary, tags=tuple(getattr(given, "tags", ())))


def _undefined(content: Any, known: Iterable[str], where: tuple[str | int, ...]) -> list[InitErrorDetails]:
    """Errors for names in *content*, any JSON value, that nobody defines; those with a dot are the scenario's to know."""
    return [
        _unknown_name(name, known, place, name)
        for place, name in _wanted(content, where)
        if "." not in name and name not in known
    ]


def _wanted(content: Any, where: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The names that the texts in *content*, any JSON value, want filled in, each at the text that uses it."""
    if isinstance(content, str):
        yield from ((where, name) for name in names_in(content))
    elif isinstance(content, Mapping):
        for key, item in content.items():
            yield from _wanted(item, (*where, key))
    elif isinstance(content, (list, tuple)):
        for index, item in enumerate(content):
            yield from _wanted(item, (*where, index))


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
