"""One gate: its kind's settings, its target and criteria, and what the kind makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gates import registry
from gates.errors import GatesError
from gates.model import Criterion, KindPlan, PlannedGate, TargetPlan
from gates.spec.context import Context, Plugins
from gates.spec.criteria import CriteriaReader, too_few
from gates.spec.models import GateModel
from gates.spec.nodes import Node
from gates.spec.problems import Problem, did_you_mean
from gates.spec.targets import read_target
from gates.spec.validate import validate

GATE_KEYS = frozenset(GateModel.model_fields)
_SHORTEST_LIMIT = 60.0
_LIMIT_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all gates of a spec share.

    Attributes:
        target: the spec's own target; None when it has none or a wrong one.
        has_target: whether it has one, right or wrong.
        problems: where everything that is wrong is noted.
    """

    root: Path
    profile: str
    level: str
    plugins: Plugins
    target: TargetPlan | None
    has_target: bool
    problems: list[Problem]


def kind_and_settings(whole: Surroundings, name: str, node: Node) -> tuple[Any, Any]:
    """The kind that *node* names and its validated settings; None for what is wrong, after noting it."""
    named, kinds, path = node.get("kind"), whole.plugins(registry.KINDS), ("gates", name)
    if named is None or not isinstance(named.scalar, str):
        return None, None
    if named.scalar not in kinds:
        hint = did_you_mean(named.scalar, kinds)
        whole.problems.append(named.place.problem((*path, "kind"), f"unknown kind {named.scalar!r}", hint))
        return None, None
    kind = kinds[named.scalar]
    return kind, validate(kind.settings, node, path, whole.problems, skip=GATE_KEYS, also=GATE_KEYS)


class GateResolver:
    """Resolves one gate: its kind's settings, target, criteria and plan."""

    def __init__(self, whole: Surroundings, name: str, model: GateModel, node: Node) -> None:
        self.whole = whole
        self.name = name
        self.model = model
        self.node = node
        self.problems = whole.problems

    def resolve(self, needs: tuple[str, ...]) -> PlannedGate | None:
        before = len(self.problems)
        kind, settings = kind_and_settings(self.whole, self.name, self.node)
        if kind is None:
            return None
        target = self._target(kind)
        criteria = self._criteria(kind)
        plan = self._plan(kind, settings, target, criteria) if settings is not None else None
        if plan is not None:
            self._check_samples((*criteria, *plan.built_in), plan)
        return self._planned(kind, plan, target, criteria, needs) if plan is not None and len(self.problems) == before else None

    def _target(self, kind: Any) -> TargetPlan | None:
        own = self.node.get("target")
        if not kind.needs_target:
            if own is not None:
                self._refuse("target", f"the kind {kind.name!r} uses no target", "remove it")
            return None
        if own is not None:
            return read_target(own, ("gates", self.name, "target"), self.whole.plugins(registry.TARGETS), self.problems)
        if not self.whole.has_target:
            self._refuse("", f"the kind {kind.name!r} needs a target", "add `target:` to the gate or to the whole spec")
        return self.whole.target

    def _criteria(self, kind: Any) -> tuple[Criterion, ...]:
        if not self.model.criteria:
            self._refuse("criteria", "no criteria; a gate without one proves nothing", f"metrics: {_names(kind)}")
            return ()
        node = self.node.get("criteria")
        assert node is not None
        return CriteriaReader(kind.metrics, node, ("gates", self.name, "criteria"), self.problems).read(self.model.criteria)

    def _plan(self, kind: Any, settings: Any, target: TargetPlan | None, criteria: tuple[Criterion, ...]) -> KindPlan | None:
        whole, before = self.whole, len(self.problems)
        if kind.needs_target and target is None:
            return None
        path = ("gates", self.name)
        context = Context(
            whole.root, whole.profile, whole.level, target, criteria, self.node, path, self.problems, whole.plugins
        )
        try:
            plan: KindPlan = kind.plan(settings, context)
        except (GatesError, ValueError) as error:
            if len(self.problems) == before:
                message, hint = (error.said, error.hint) if isinstance(error, GatesError) else (str(error), "")
                self._refuse("", message, hint)
            return None
        return plan

    def _check_samples(self, criteria: Sequence[Criterion], plan: KindPlan) -> None:
        given = {each.id for each in criteria if not each.built_in}
        prefix = f"gates.{self.name}.criteria."
        blamed = {problem.path.removeprefix(prefix) for problem in self.problems if problem.path.startswith(prefix)}
        for criterion in criteria:
            if criterion.built_in and criterion.id in given:
                self._refuse(f"criteria.{criterion.id}", f"{criterion.id} is built in", "remove it")
            complaint = too_few(criterion, plan.samples.get(criterion.id), self.whole.profile)
            if complaint is not None and criterion.id not in blamed:
                self._refuse(f"criteria.{criterion.id}", *complaint)

    def _planned(
        self, kind: Any, plan: KindPlan, target: TargetPlan | None, criteria: tuple[Criterion, ...], needs: tuple[str, ...]
    ) -> PlannedGate | None:
        expected = max(plan.seconds, self.model.budget or 0.0)
        limit = self.model.limit or max(_SHORTEST_LIMIT, _LIMIT_FACTOR * expected)
        if limit < plan.seconds:
            self._refuse("limit", f"the gate takes {plan.seconds:.0f} s, longer than its limit of {limit:.0f} s")
            return None
        controls = target.controls if target is not None else ()
        missing = [f"control {name!r} of the target" for name in plan.controls if name not in controls]
        return PlannedGate(
            name=self.name,
            kind=self.model.kind,
            settings=plan.settings,
            criteria=(*(_allowing(each, plan) for each in criteria), *plan.built_in),
            limit=limit,
            budget=self.model.budget or plan.seconds,
            needs=needs,
            measures=bool(kind.measures),
            target=target,
            missing=(*missing, *plan.problems),
            summary=self.model.summary,
            line=self.node.named.text,
            excused=plan.not_applicable,
        )

    def _refuse(self, setting: str, message: str, hint: str = "") -> None:
        node, taken, rest = self.node.walk_dotted(setting)
        criterion = taken[:1] == ("criteria",)
        place = node.named if rest or criterion or node.entries is not None else node.place
        self.problems.append(place.problem(("gates", self.name, *([setting] if setting else [])), message, hint))


def _allowing(criterion: Criterion, plan: KindPlan) -> Criterion:
    return replace(criterion, allowances=plan.allowances.get(criterion.id, ()))


def _names(kind: Any) -> str:
    return ", ".join(spec.name for spec in kind.metrics)
