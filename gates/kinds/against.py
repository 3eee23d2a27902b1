"""What the plan decides about a comparison: the base, the accepted regressions that lie after it, and what does not apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from gates.errors import BadFileError
from gates.model import Allowance, Comparator, Comparison, Criterion, KindContext, Rule, Unit, split_criterion_id
from gates.regression.accepted import FILE, AcceptedEntry, AcceptedFile, in_range, problems
from gates.regression.base import Base, Chosen, NotApplicable, choose

NONE = "none"
COMPARED = ("slowdown", "removed", "growth.")
PAIRED = ("slowdown", "removed")
STEP, SLACK, FEWEST = 0.02, 0.005, 12
_SUCH = "such as {below: 5 %, fail_above: 2 %}"

BUILT_IN = (
    Criterion(
        "valid.base",
        Unit.COUNT,
        Rule.CENSUS,
        (Comparison(Comparator.AT_MOST, 0, text="0"),),
        1,
        built_in=True,
        summary="Reasons why the candidate could not be compared with its base.",
    ),
    Criterion(
        "valid.control",
        Unit.RATIO,
        Rule.SINGLE,
        (Comparison(Comparator.AT_MOST, SLACK, text=f"{SLACK:.1%}"),),
        1,
        built_in=True,
        machine=True,
        summary="How far the interval of the same code on both sides lies from no difference.",
    ),
    Criterion(
        "valid.pairs",
        Unit.COUNT,
        Rule.SINGLE,
        (Comparison(Comparator.AT_LEAST, FEWEST, text=f"{FEWEST}"),),
        1,
        built_in=True,
        summary="The fewest valid pairs that a benchmark was compared in.",
    ),
    Criterion(
        "valid.clock",
        Unit.SECONDS,
        Rule.SINGLE,
        (Comparison(Comparator.AT_MOST, STEP, text=f"{STEP * 1000:g} ms"),),
        1,
        built_in=True,
        machine=True,
        summary="How far the wall clock moved against the monotonic one in a pair that was counted.",
    ),
)


@dataclass(frozen=True, slots=True)
class AgainstPlan:
    """What was decided.

    Attributes:
        base: the commit, with why it is the one; or why there is none. Plain JSON.
        built_in: criteria of the comparison itself.
        not_applicable: by criterion, why nothing can ever be compared.
        allowances: by criterion, the regressions that were accepted.
        removed: benchmarks whose removal was accepted.
    """

    base: Mapping[str, str] = field(default_factory=dict)
    built_in: tuple[Criterion, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    allowances: Mapping[str, tuple[Allowance, ...]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


def plan_against(against: str, context: KindContext) -> AgainstPlan:
    """What *against* comes to in the tree as it is; errors of `accepted.yaml` are noted."""
    compared = [criterion for criterion in context.criteria if is_compared(criterion.id)]
    if against == NONE:
        for criterion in compared:
            context.error(f"criteria.{criterion.id}", "nothing to compare with", "add `against: merge-base` to the gate")
        return AgainstPlan()
    _check_limits(context)
    built_in = BUILT_IN if any(is_paired(each.id) for each in compared) else BUILT_IN[:1]
    entries = _entries(context)
    chosen = choose(context.root, against)
    if isinstance(chosen, NotApplicable):
        return AgainstPlan({"none": chosen.reason}, not_applicable={criterion.id: chosen.reason for criterion in compared})
    if not isinstance(chosen, Base):
        return AgainstPlan({"problem": chosen.said}, built_in)
    fresh = in_range(entries, context.root, chosen.sha, "HEAD")
    removed = tuple(split_criterion_id(entry.metric)[2] for entry in fresh if entry.metric.startswith("removed/"))
    return AgainstPlan(_plain(chosen), built_in, {}, allowances(compared, fresh), removed)


def is_compared(criterion: str) -> bool:
    """Whether *criterion* is about a base."""
    return criterion.startswith(COMPARED)


def is_paired(criterion: str) -> bool:
    """Whether *criterion* needs pairs of processes, and not counts alone."""
    return criterion.startswith(PAIRED)


def _check_limits(context: KindContext) -> None:
    """Refuse limits of a slowdown that no pairs can be planned for."""
    for criterion in context.criteria:
        for each in criterion.comparisons if criterion.metric == "slowdown" else ():
            beyond = each.limit if each.fail_beyond is None else each.fail_beyond
            if each.comparator not in (Comparator.BELOW, Comparator.AT_MOST):
                context.error(f"criteria.{criterion.id}", f"a slowdown has no limit {each.comparator.replace('_', ' ')}", _SUCH)
            elif not (0 <= beyond <= each.limit and each.limit > 0):
                context.error(
                    f"criteria.{criterion.id}", "a limit of a slowdown is above 0 %, its fail_above at most it", _SUCH
                )


def _plain(chosen: Chosen) -> Mapping[str, str]:
    assert isinstance(chosen, Base)
    return {"sha": chosen.sha, "why": chosen.why}


def _entries(context: KindContext) -> Sequence[AcceptedEntry]:
    """The accepted regressions of the repository; none when it has no such file."""
    if not (context.root / FILE).exists():
        return ()
    entries = context.read(FILE, AcceptedFile, setting="against").accepted
    found = problems(entries, _today(), context.root)
    for problem in found:
        context.error("against", f"{FILE}: {problem.message}", problem.hint)
    if found:
        raise BadFileError("an accepted regression can't be used", location=FILE)
    return entries


def _today() -> date:
    return datetime.now(UTC).date()


def allowances(criteria: Iterable[Criterion], entries: Sequence[AcceptedEntry]) -> dict[str, tuple[Allowance, ...]]:
    """By criterion, what *entries* raise its limits by, each for one selector. Pure."""
    found: dict[str, tuple[Allowance, ...]] = {}
    for criterion in criteria:
        mine = [entry for entry in entries if _concerns(entry, criterion) and entry.size]
        if mine:
            found[criterion.id] = tuple(
                Allowance(
                    split_criterion_id(entry.metric)[2],
                    entry.size,
                    f"{entry.reason} ({entry.commit[:7]}, until {entry.expires})",
                )
                for entry in mine
            )
    return found


def _concerns(entry: AcceptedEntry, criterion: Criterion) -> bool:
    metric, _, selector = split_criterion_id(entry.metric)
    return metric == criterion.metric and criterion.selector in ("*", selector)


def base_of(settings: Mapping[str, Any]) -> tuple[str, str]:
    """From a gate's settings, the commit to compare with and why it is the one; or an empty one and why there is none."""
    base = settings["base"]
    return (base["sha"], base["why"]) if "sha" in base else ("", base.get("problem") or base.get("none", ""))
