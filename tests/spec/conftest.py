"""Small plug-ins for the spec's tests, a writer of spec files, and a resolver over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from gates.errors import BadFileError
from gates.fields import Duration, Rate, Settings
from gates.model import (
    Criterion,
    KindContext,
    KindPlan,
    MetricSpec,
    ProcessSpec,
    Ready,
    Rule,
    Samples,
    TargetLayout,
    Unit,
)
from gates.spec import Resolved, SpecErrors, resolve

SCENARIO = "rate: 100/s\nduration: {quick: 13 s, full: 5 min}\n"
SPEC = """\
version: 1
target: {ring: {nodes: 3}}
profiles: {quick: {budget: 180 s}, standard: {budget: 20 min}, full: {}, release: {as: standard, require: [approvals]}}
gates:
  sustained:
    kind: stream
    needs: [unit]
    scenario: scenario.yaml
    criteria:
      latency.p99@steady: {below: {quick: 250 ms, full: 200 ms}}
      errors.ratio: {below: 1 %}
  unit:
    kind: check
    command: [pytest, -q]
    criteria: {failed: {at_most: 0}, passed: {at_least: 1}}
  soak:
    kind: stream
    profiles: [full]
    scenario: scenario.yaml
    criteria: {latency.p99: {below: 1 s}}
claims:
  - say: The tests pass and load is answered
    by: ["unit:*", sustained:latency.p99@steady]
"""


class CheckSettings(Settings):
    command: tuple[str, ...]
    strict: bool = False
    retries: int = 0
    mode: Literal["fast", "slow"] = "fast"


class Check:
    """A kind without target."""

    name, summary, measures, needs_target, settings = "check", "Runs a command.", False, False, CheckSettings
    metrics = (
        MetricSpec("failed", Unit.COUNT, Rule.CENSUS, "Failed tests."),
        MetricSpec("passed", Unit.COUNT, Rule.CENSUS, "Passed tests."),
        MetricSpec("duration", Unit.SECONDS, Rule.SINGLE, "How long it took."),
        MetricSpec("custom.*", Unit.COUNT, Rule.SINGLE, "Whatever the command says."),
    )

    def plan(self, settings: CheckSettings, context: KindContext) -> KindPlan:
        if settings.command == ("no-such-program",):
            context.error("command.0", "there is no such program", "install it")
        if settings.command == ("raise",):
            raise BadFileError("this can't be planned", hint="plan something else")
        return KindPlan(settings.model_dump(mode="json"), seconds=20)


class ScenarioFile(Settings):
    rate: Rate
    duration: Duration


class StreamSettings(Settings):
    scenario: str


class Stream:
    """A kind that measures a target by a scenario in a file of its own."""

    name, summary, measures, needs_target, settings = "stream", "Sends load.", True, True, StreamSettings
    metrics = (
        MetricSpec(
            "latency.p99", Unit.SECONDS, Rule.PERCENTILE, "Latency.", quantile=0.99, phases=("warmup", "steady"), selectors=True
        ),
        MetricSpec("latency.p50", Unit.SECONDS, Rule.PERCENTILE, "Latency.", quantile=0.5),
        MetricSpec("errors.ratio", Unit.RATIO, Rule.RATIO, "Errors."),
        MetricSpec("valid.late", Unit.SECONDS, Rule.SINGLE, "Lateness of the generator."),
    )

    def plan(self, settings: StreamSettings, context: KindContext) -> KindPlan:
        assert context.target is not None
        scenario = context.read(settings.scenario, ScenarioFile, setting="scenario")
        planned = Samples(int(scenario.rate * scenario.duration), lambda n: f"a rate of {n / scenario.duration:.0f}/s would do")
        return KindPlan(
            {"rate": scenario.rate, "duration": scenario.duration},
            built_in=(Criterion("valid.late", Unit.SECONDS, Rule.SINGLE, (), 1, built_in=True),),
            samples={criterion.id: planned for criterion in context.criteria},
            controls=("kill",),
            seconds=scenario.duration,
        )


class RingSettings(Settings):
    nodes: int = Field(default=3, ge=1)


class Ring:
    """A target that can be killed."""

    name, settings = "ring", RingSettings

    def layout(self, settings: RingSettings) -> TargetLayout:
        names = [f"node-{number}" for number in range(settings.nodes)]
        return TargetLayout(tuple(ProcessSpec(name, ("true",), Ready(tcp=True)) for name in names), controls=("kill",))


class PlaceSettings(Settings):
    url: str

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class PlacePreset:
    """A target that can't be controlled."""

    name, settings = "place", PlaceSettings

    def layout(self, settings: PlaceSettings) -> TargetLayout:
        if not settings.url.startswith("http"):
            raise ValueError("expected a URL")
        return TargetLayout(urls={"main": settings.url})


PLUGINS: Mapping[str, Mapping[str, Any]] = {
    "gates.kinds": {"check": Check(), "stream": Stream()},
    "gates.targets": {"ring": Ring(), "place": PlacePreset()},
}


def plugins(group: str) -> Mapping[str, Any]:
    """The tests' own plug-ins."""
    return PLUGINS.get(group, {})


class Bench:
    """A repository of one spec and its files, and what becomes of them."""

    plugins = staticmethod(plugins)

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "readiness.yaml"
        (root / "scenario.yaml").write_text(SCENARIO)

    def resolve(self, text: str | bytes, profile: str = "quick", *overrides: str) -> Resolved:
        """The plan of a spec of *text*."""
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return resolve(self.file, root=self.root, profile=profile, overrides=overrides, plugins=plugins)

    def errors(self, text: str | bytes, profile: str = "quick", *overrides: str) -> list[str]:
        """The problems of a spec of *text*, each as the text for people."""
        with pytest.raises(SpecErrors) as raised:
            self.resolve(text, profile, *overrides)
        assert int(raised.value.code) == 4
        return [str(problem) for problem in raised.value.problems]

    def error(self, text: str | bytes, profile: str = "quick", *overrides: str) -> str:
        """The only problem of a spec of *text*."""
        found = self.errors(text, profile, *overrides)
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty repository to try specs in."""
    return Bench(tmp_path)


@pytest.fixture
def changed() -> Callable[[str, str], str]:
    """The good spec with one part of it written differently."""

    def change(old: str, new: str) -> str:
        assert SPEC.count(old) >= 1, old
        return SPEC.replace(old, new, 1)

    return change


@pytest.fixture
def spec() -> str:
    """A spec with nothing wrong in it."""
    return SPEC
