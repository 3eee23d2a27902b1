"""Set-up and teardown: flows that run once around a load, with httpx, and are no part of what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gates.errors import GatesError
from gates.load.dialer import LoadError, trusting
from gates.load.plan import LoadPlan
from gates.load.program import Program, Request
from gates.load.template import UnfillableError
from gates.load.variables import NO_VARIABLES, Variables

if TYPE_CHECKING:
    import httpx

# arrivals count from 0, so that no key of theirs is one of these
BEFORE, AFTER = 2**62, 2**62 + 1


@dataclass(slots=True)
class Preparation:
    """What the set-up captured, and what the teardown could not do, in sentences."""

    captured: Mapping[str, str]
    problems: list[str] = field(default_factory=list)


@contextmanager
def prepared(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    headers: Mapping[str, str],
    given: Mapping[str, str] | None = None,
) -> Iterator[Preparation]:
    """Run the set-up of *plan*, and its teardown afterwards whatever happened; neither when somebody else has *given*.

    Raises LoadError when a step of the set-up fails its checks or gets no answer. A teardown that fails is a problem: what was
    measured stands.
    """
    if given is not None:
        yield Preparation(given)
        return
    once = _Once(plan, endpoints, seed, headers)
    preparation = Preparation(once.run("set-up", plan.setup, BEFORE, NO_VARIABLES) if plan.setup else NO_VARIABLES)
    try:
        yield preparation
    finally:
        if plan.teardown:
            try:
                once.run("teardown", plan.teardown, AFTER, preparation.captured)
            except GatesError as error:
                preparation.problems.append(error.message)


@dataclass(frozen=True, slots=True)
class _Once:
    """Runs a flow once, one step after the other."""

    plan: LoadPlan
    endpoints: Mapping[str, str]
    seed: int
    headers: Mapping[str, str]

    def run(self, what: str, definition: Mapping[str, Any], n: int, given: Mapping[str, str]) -> dict[str, str]:
        """What the flow captured. Raises LoadError."""
        import httpx

        wanted = definition.get("endpoint", "any")
        endpoint = next(iter(self.endpoints)) if wanted == "any" else wanted
        variables = Variables(self.plan, seed=self.seed, given=given)
        url = self.endpoints[endpoint]
        program = Program(what, definition, endpoint, url, seed=self.seed, headers=self.headers, variables=variables)
        values = program.values(n)
        with httpx.Client(timeout=self.plan.timeout, trust_env=False, verify=trusting(self.plan.ca)) as client:
            for number, request in enumerate(program.requests, 1):
                if problem := _problem(client, request, url, values):
                    raise LoadError(f"{what}, step {number}: {problem}", location=endpoint, hint="mend the flow or the target")
        return program.answer(values) or {}


def _problem(client: httpx.Client, request: Request, url: str, values: dict[str, str]) -> str:
    """Send *request* and say what is wrong with the answer; empty when nothing is."""
    import httpx

    parts = urlsplit(url)
    try:
        method, path, headers, body = request.parts(values)
        answer = client.request(method, f"{parts.scheme}://{parts.netloc}{path}", headers=headers, content=body or None)
    except (httpx.HTTPError, UnfillableError) as error:
        return f"no answer: {error or type(error).__name__}"
    found = request.checker.look(answer.status_code, answer.headers, answer.content, values)
    return found[1] if found else ""
