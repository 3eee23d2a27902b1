"""Criteria of a gate: ids checked against the kind's catalogue, limits in the unit of their metric, fewest samples by rule."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gates.model import (
    Comparator,
    Comparison,
    Criterion,
    MetricSpec,
    Rule,
    Samples,
    Severity,
    Unit,
    criterion_id,
    split_criterion_id,
)
from gates.quantity import parse
from gates.spec.models import COMPARATORS, ComparisonModel
from gates.spec.nodes import Node, Path
from gates.spec.problems import Problem, did_you_mean, got

_UPPER = (Comparator.BELOW, Comparator.AT_MOST)
_PAIRS_OF_A_SLOWDOWN = 12
ANY_PHASE = "*"
_SAMPLES_BEYOND = 10
_ZERO_ERRORS = 3.7  # requests times limit, below which not even zero errors could pass at 95 %


@dataclass(slots=True)
class CriteriaReader:
    """Reads the criteria of one gate; what is wrong goes to *problems*."""

    catalogue: Sequence[MetricSpec]
    node: Node
    path: Path
    problems: list[Problem]

    def read(self, given: Mapping[str, ComparisonModel | tuple[ComparisonModel, ...]]) -> tuple[Criterion, ...]:
        """The criteria that are right."""
        found = [self._criterion(name, item if isinstance(item, tuple) else (item,)) for name, item in given.items()]
        return tuple(criterion for criterion in found if criterion is not None)

    def _criterion(self, name: str, models: tuple[ComparisonModel, ...]) -> Criterion | None:
        spec = self._metric(name)
        if spec is None:
            return None
        if not models:
            self._refuse((name,), "an empty list; expected one comparison or several")
            return None
        before = len(self.problems)
        unit = self._unit(spec, models)
        comparisons = [found for index in range(len(models)) for found in self._comparisons(name, models, index, spec, unit)]
        severities = {model.severity for model in models if model.severity is not None}
        if len(severities) > 1:
            self._refuse((name,), f"one criterion has one severity (got {', '.join(sorted(severities))})")
        if len(self.problems) > before:
            return None
        severity = severities.pop() if severities else Severity.BLOCKING
        minimum = fewest_samples(spec, comparisons)
        return Criterion(name, unit, spec.rule, tuple(comparisons), minimum, severity, summary=spec.summary)

    def _metric(self, name: str) -> MetricSpec | None:
        metric, phase, selector = split_criterion_id(name)
        if criterion_id(metric, phase, selector) != name or not metric:
            self._refuse((name,), "not the id of a criterion", "expected metric[@phase][/selector], such as latency.p99@steady")
            return None
        spec = find_metric(self.catalogue, metric)
        if spec is None:
            self._refuse((name,), f"unknown metric {metric!r}", did_you_mean(metric, (known.name for known in self.catalogue)))
            return None
        if phase and phase not in spec.phases and ANY_PHASE not in spec.phases:
            message = f"unknown phase {phase!r} of {metric}" if spec.phases else f"{metric} has no phases {got(phase)}"
            self._refuse((name,), message, did_you_mean(phase, spec.phases))
            return None
        if selector and not spec.selectors:
            self._refuse((name,), f"{metric} has no selectors {got(selector)}", f"write {criterion_id(metric, phase)}")
            return None
        return spec

    def _unit(self, spec: MetricSpec, models: Iterable[ComparisonModel]) -> Unit:
        """The metric's unit; where only the run knows the metric (`*`), the one that its limits are written in."""
        if not spec.name.endswith("*"):
            return spec.unit
        values = [getattr(model, name) for model in models for name in COMPARATORS if getattr(model, name) is not None]
        units: list[Unit] = [spec.unit, *Unit]
        return next((unit for value in values for unit in units if _is_in(value, unit)), spec.unit)

    def _comparisons(
        self, name: str, models: tuple[ComparisonModel, ...], index: int, spec: MetricSpec, unit: Unit
    ) -> list[Comparison]:
        listed = self.node.child(name)
        steps: Path = (name, index) if listed is not None and listed.items is not None else (name,)
        found = []
        for comparator in (word for word in Comparator if getattr(models[index], word) is not None):
            limit = self._number(models[index], comparator, steps, unit)
            beyond = "fail_above" if comparator in _UPPER else "fail_below"
            margin = None
            if comparator is not Comparator.EQUALS and getattr(models[index], beyond) is not None:
                margin = self._number(models[index], beyond, steps, unit)
            if limit is not None and self._makes_sense(spec, comparator, limit, (*steps, comparator.value)):
                found.append(Comparison(comparator, limit, margin, str(getattr(models[index], comparator))))
        return found

    def _number(self, model: ComparisonModel, word: str, steps: Path, unit: Unit) -> float | None:
        value = getattr(model, word)
        try:
            if re.match(r"[+-]?0\d", str(value)):
                raise ValueError("a number that begins with 0 could be octal; write it without")
            return parse(value, unit)
        except ValueError as error:
            self._refuse((*steps, word), f"{error} {got(value)}")
            return None

    def _makes_sense(self, spec: MetricSpec, comparator: Comparator, limit: float, steps: Path) -> bool:
        """Refuse limits that can never fail, or never pass, whatever is measured."""
        if comparator is Comparator.EQUALS and spec.rule not in (Rule.CENSUS, Rule.SINGLE):
            self._refuse(
                steps, f"{spec.name} carries an interval, which equals nothing", "use below, at_most, above or at_least"
            )
        elif spec.name.endswith("*") or spec.rule is Rule.SLOWDOWN:
            return True
        elif limit < 0:
            self._refuse(steps, f"{spec.name} is never negative")
        elif spec.rule is Rule.RATIO and not 0 < (limit if comparator in _UPPER else 1 - limit) < 1:
            self._refuse(
                steps,
                f"no number of samples can decide {spec.name} against this limit",
                "expected more than 0 % and less than 100 %",
            )
        elif (comparator, limit) in ((Comparator.BELOW, 0), (Comparator.AT_LEAST, 0)):
            self._refuse(
                steps,
                f"{spec.name} is {'never' if comparator is Comparator.BELOW else 'always'} {comparator.replace('_', ' ')} 0",
            )
        else:
            return True
        return False

    def _refuse(self, steps: Path, message: str, hint: str = "") -> None:
        found, taken = self.node.deepest(steps)
        place = found.named if len(steps) == 1 else found.place
        self.problems.append(place.problem((*self.path, *steps), message, hint))


def find_metric(catalogue: Iterable[MetricSpec], metric: str) -> MetricSpec | None:
    """The entry of *catalogue* for *metric*: its own, else the longest one ending in `*` that it begins with."""
    fitting = [
        spec for spec in catalogue if spec.name == metric or (spec.name.endswith("*") and metric.startswith(spec.name[:-1]))
    ]
    return max(fitting, key=lambda spec: (spec.name == metric, len(spec.name)), default=None)


def fewest_samples(spec: MetricSpec, comparisons: Iterable[Comparison]) -> int:
    """The fewest samples with which a criterion over *spec* may pass."""
    match spec.rule:
        case Rule.PERCENTILE if spec.quantile < 1:
            return max(spec.at_least, _ceil(_SAMPLES_BEYOND / (1 - spec.quantile)))
        case Rule.RATIO:
            room = [each.limit if each.comparator in _UPPER else 1 - each.limit for each in comparisons]
            return max([spec.at_least, *(_ceil(_ZERO_ERRORS / limit) for limit in room if 0 < limit < 1)])
        case Rule.SLOWDOWN:
            return _PAIRS_OF_A_SLOWDOWN
    return spec.at_least


def too_few(criterion: Criterion, planned: Samples | None, profile: str) -> tuple[str, str] | None:
    """What is wrong and what would do when *profile* gives *criterion* too few samples; None when it has enough."""
    if planned is None or planned.n >= criterion.minimum:
        return None
    message = f"{criterion.id} needs {criterion.minimum:,} samples, and the profile {profile} gives it {planned.n:,}"
    return message, planned.advice(criterion.minimum)


def _ceil(number: float) -> int:
    return math.ceil(round(number, 6))


def _is_in(value: object, unit: Unit) -> bool:
    try:
        parse(value, unit)
    except ValueError:
        return False
    return True
