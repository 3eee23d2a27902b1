"""`gates compare`: is one commit slower than another, by the benchmarks of any repository."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import console
from gates.errors import Exit, GatesError, UsageError
from gates.model import Outcome, Unit

if TYPE_CHECKING:
    from gates.model import CriterionReport
    from gates.regression.checkouts import Checkouts
    from gates.regression.comparison import Comparison, Wishes
    from gates.regression.values import Design, Estimate, Tolerance

COLUMNS = ("benchmark", "slowdown", "interval", "says", "pairs", "stage", "base", "candidate")
USUAL = {"--pairs": "12+30", "--below": "5 %", "--fail-above": "2 %"}


@click.command("compare")
@click.argument("base", metavar="A")
@click.argument("candidate", metavar="B")
@click.option("--only", multiple=True, metavar="METRIC", help="Only this benchmark; `*` stands for anything. Again for more.")
@click.option("--suite", metavar="PATH", help="File or folder of the benchmarks, relative to the repository.")
@click.option("--repo", type=click.Path(path_type=Path), help="The repository; else the one around us.")
@click.option("--package", default="", metavar="PATH", help="What is measured, where neither the root nor src holds it.")
@click.option(
    "--pairs",
    default=USUAL["--pairs"],
    show_default=True,
    metavar="N+M",
    help="Pairs of stage 1 and of stage 2, which noise doubles.",
)
@click.option(
    "--below", default=USUAL["--below"], show_default=True, metavar="RATIO", help="A slowdown surely below it passes."
)
@click.option(
    "--fail-above", default=USUAL["--fail-above"], show_default=True, metavar="RATIO", help="A slowdown surely above it fails."
)
@click.option("--parallel", multiple=True, metavar="METRIC", help="Run both sides at once: threads, servers. Again for more.")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="What pytest loads with -p. Again for more.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Of the orders and hash seeds; else drawn.")
@click.option("--evidence", type=click.Path(path_type=Path), help="Keep every round of every pair in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare_command(
    base: str,
    candidate: str,
    only: tuple[str, ...],
    suite: str | None,
    repo: Path | None,
    package: str,
    pairs: str,
    below: str,
    fail_above: str,
    parallel: tuple[str, ...],
    plugins: tuple[str, ...],
    seed: int | None,
    evidence: Path | None,
    as_json: bool,
) -> int:
    """Compare commit B with commit A by B's benchmarks; `.` is the working tree as it is.

    Both run side by side, in pairs of processes. Exit codes: 0 when no benchmark is slower, 1 when one surely is, 3 when it
    can't be said.
    """
    from gates.pipeline.folder import repository_root
    from gates.regression.comparison import Wishes

    root = repository_root(repo or Path.cwd())
    question = Question(
        root=root,
        base=_commit(root, base),
        candidate=_commit(root, candidate),
        names=(base, candidate),
        suite=suite,
        package=package,
        plugins=plugins,
        wishes=Wishes(only=only, parallel=parallel, new=True),
        design=_design(pairs),
        tolerance=_tolerance(below, fail_above),
        seed=secrets.randbits(31) if seed is None else seed,
        evidence=_writable(evidence),
        options=_given(
            {
                "--repo": [repo],
                "--suite": [suite],
                "--package": [package],
                "--parallel": parallel,
                "--plugin": plugins,
                "--below": [below],
                "--fail-above": [fail_above],
                "--pairs": [pairs],
            }
        ),
    )
    comparison = question.asked()
    reports = question.judged(comparison)
    answer = Answer(question, comparison, reports)
    answer.talk()
    console.data(answer.as_json() if as_json else answer.table())
    return int(answer.exit)


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared with what, and how surely; *options* are those of the command line that another try needs too."""

    root: Path
    base: str
    candidate: str
    names: tuple[str, str]
    suite: str | None
    package: str
    plugins: tuple[str, ...]
    wishes: Wishes
    design: Design
    tolerance: Tolerance
    seed: int
    evidence: Path | None
    options: tuple[str, ...]

    def asked(self) -> Comparison:
        """Alone on the machine, in checkouts that are gone afterwards."""
        from gates.pipeline.lock import VARIABLE, MachineLock, lock_folder
        from gates.regression.checkouts import checked_out

        lock = MachineLock(lock_folder(), os.environ.get(VARIABLE, ""))
        tell = lambda holders: console.talk(f"waiting for {' and '.join(map(str, holders))}")  # noqa: E731
        with lock.hold(True, "by hand", "compare", waiting=tell), checked_out(self.root, self.base, self.candidate) as trees:
            return self._compared(trees)

    def _compared(self, trees: Checkouts) -> Comparison:
        from gates.regression.comparison import compare
        from gates.regression.suites import describe, usual

        tree = trees.candidate
        suite = describe(tree, self.suite or usual(tree), package=self.package, plugins=self.plugins)
        console.talk(f"{suite.paths[0]}: {_short(self.names[1], self.candidate)} against {_short(self.names[0], self.base)}")
        return compare(
            suite,
            trees.base,
            trees.candidate,
            self.design,
            seed=self.seed,
            tolerance=self.tolerance,
            wishes=self.wishes,
            evidence=self.evidence,
            on_progress=console.progress,
            pythons=trees.pythons,
        )

    def judged(self, comparison: Comparison) -> tuple[CriterionReport, ...]:
        """What `judge` says of each benchmark."""
        from gates.model import Comparator, Criterion, Execution, GateResult, PlannedGate, Rule
        from gates.model import Comparison as Limit
        from gates.pipeline.judge import judge_gate
        from gates.regression.comparison import measurement
        from gates.regression.values import FEWEST_PAIRS

        limit = Limit(Comparator.BELOW, self.tolerance.below, self.tolerance.fail_above)
        names = [*(estimate.name for estimate in comparison.estimates), *comparison.broken]
        criteria = tuple(Criterion(f"slowdown/{name}", Unit.RATIO, Rule.SLOWDOWN, (limit,), FEWEST_PAIRS) for name in names)
        found = tuple(measurement(estimate) for estimate in comparison.estimates)
        gate = PlannedGate("compare", "benchmarks", {}, criteria, 0.0, 0.0)
        return judge_gate(gate, GateResult("compare", Execution.COMPLETED, "", 0.0, found)).criteria

    def repeat(self, name: str) -> str:
        """The command that measures *name* again."""
        from gates.cli.main import started_as

        names = [each if each == "." else commit for each, commit in zip(self.names, self._shas, strict=True)]
        return f"{started_as()} {shlex.join(['compare', *names, '--only', name, *self.options])}"

    @property
    def _shas(self) -> tuple[str, str]:
        return self.base[:12], self.candidate[:12]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the comparison says, for people and programs."""

    question: Question
    comparison: Comparison
    reports: tuple[CriterionReport, ...]

    @property
    def failed(self) -> list[str]:
        return [each.criterion.selector for each in self.reports if each.outcome is Outcome.FAIL]

    @property
    def doubts(self) -> list[str]:
        """Why nothing can be said of the whole."""
        control, problems = self.comparison.control, self.comparison.problems
        # too few pairs for a control are what the problems have left of it
        is_own = control is not None and control.reason and (control.estimate or not problems)
        return [*problems, *([control.reason] if control and is_own else [])]

    @property
    def strangers(self) -> list[str]:
        """What was asked for and is no benchmark."""
        from gates.spec.problems import did_you_mean

        wishes, known = self.question.wishes, self.comparison.known
        asked = [("--only", each) for each in self.comparison.strangers(wishes.only)]
        asked += [("--parallel", each) for each in self.comparison.strangers(wishes.parallel)]
        told = {option_name: self._gone(*option_name) for option_name in asked}
        return [
            gone or f"{option} {name!r} fits no benchmark; {did_you_mean(name, known)}".removesuffix("; ")
            for (option, name), gone in told.items()
        ]

    def _gone(self, option: str, pattern: str) -> str:
        """What became of a benchmark that is asked for and that only the base has; else nothing."""
        from gates.regression.parallel import matches

        base, candidate = self.question.names
        gone = any(matches(name, (pattern,)) for name in self.comparison.removed)
        return f"{option} {pattern!r} was removed: {base} has it, {candidate} has not" if gone else ""

    @property
    def _asked_in_vain(self) -> bool:
        """Whether something that is asked for by name could not be compared since the base has no such code."""
        from gates.regression.parallel import matches

        return any(matches(name, self.question.wishes.only) for name in self.comparison.newer)

    @property
    def exit(self) -> Exit:
        """A slowdown is believed only when the measurement is."""
        if self.doubts:
            return Exit.INCONCLUSIVE
        if self.failed:
            return Exit.NOT_READY
        unsure = bool(self.strangers) or self._asked_in_vain or any(each.outcome is not Outcome.PASS for each in self.reports)
        return Exit.INCONCLUSIVE if unsure or not self.reports else Exit.READY

    def talk(self) -> None:
        """Everything that is no number of the table."""
        found = self.comparison
        for doubt in (*self.strangers, *self.doubts):
            console.error(doubt)
        for name, why in found.broken.items():
            console.talk(f"{name} was not compared: {why}")
        if comparable := [name for name in found.added if name not in found.newer]:
            console.talk(f"new: {', '.join(comparable)}")
        for name, why in found.newer.items():
            console.talk(f"new with the code that it measures, and so not compared: {name} ({why})")
        if found.removed:
            console.talk(f"removed, and so not compared: {', '.join(found.removed)}")
        for name, ratio in found.detectable.items():
            console.talk(f"{name} ran in parallel; a slowdown of {ratio:.1%} would have been found")
        self._explain()

    def _explain(self) -> None:
        """For what failed: the commits that may have done it, and how to look again."""
        if not self.failed:
            return
        from gates.regression.commits import between

        end = "HEAD" if self.question.candidate == "." else self.question.candidate
        start = "HEAD" if self.question.base == "." else self.question.base
        commits = between(self.question.root, start, end, self.comparison.suite.sources)
        if commits:
            console.talk("commits between, * touches the package:")
        for each in commits:
            console.talk(f"  {'*' if each.touches else ' '} {each.sha[:9]} {each.subject}")
        for name in self.failed:
            console.talk(f"again: {self.question.repeat(name)}")

    def table(self) -> str:
        """A row for every benchmark, aligned."""
        says = {each.criterion.selector: str(each.outcome) for each in self.reports}
        control = self.comparison.control
        rows = [self._row(each, says[each.name]) for each in self.comparison.estimates]
        if control and control.estimate:
            rows.append(self._row(control.estimate, "sound" if control.sound else "unsound"))
        widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in (COLUMNS, *rows))

    def _row(self, estimate: Estimate, says: str) -> tuple[str, ...]:
        interval = f"{estimate.low:+.1%} to {estimate.high:+.1%}"
        calls = _calls(self.comparison, estimate.name)
        return (estimate.name, f"{estimate.slowdown:+.1%}", interval, says, str(estimate.pairs), str(estimate.stage), *calls)

    def as_json(self) -> str:
        found = self.comparison
        return json.dumps(
            {
                "base": self.question.base,
                "candidate": self.question.candidate,
                "seed": found.seed,
                "design": asdict(found.design),
                "benchmarks": [
                    {**asdict(each), "says": str(report.outcome), "because": report.reason}
                    for each, report in zip(found.estimates, self.reports, strict=False)
                ],
                "control": asdict(found.control) if found.control else None,
                "added": found.added,
                "newer": found.newer,
                "removed": found.removed,
                "broken": found.broken,
                "detectable": found.detectable,
                "problems": [*self.strangers, *self.doubts],
            },
            indent=2,
            ensure_ascii=False,
        )


def _calls(comparison: Comparison, name: str) -> Sequence[str]:
    """The median seconds a call of base and candidate."""
    from statistics import median

    from gates.quantity import show

    rounds = [seconds for pair in comparison.pairs for seconds in pair.seconds.get(name, ())]
    return [show(median(side), Unit.SECONDS) for side in zip(*rounds, strict=True)] if rounds else ["", ""]


def _commit(root: Path, name: str) -> str:
    from gates.regression.base import UNSHALLOW
    from gates.regression.git import commit, git, is_shallow
    from gates.regression.trees import TreeError

    if name == ".":
        return name
    found = commit(root, name)
    if found is None:
        try:
            git(root, "rev-parse", "--git-dir")
        except Exception as error:
            raise TreeError(f"not a git repository: {error}", location=str(root), hint="--repo PATH") from None
        if is_shallow(root):
            why = f"no commit is called {name!r} here, and the clone is shallow"
            raise GatesError(why, location=str(root), hint=UNSHALLOW, code=Exit.INCONCLUSIVE)
        raise UsageError(f"no commit is called {name!r}", location=str(root), hint=_meant(root, name))
    return found


def _meant(root: Path, name: str) -> str:
    """The branch or tag that *name* may stand for, else where to look."""
    from gates.regression.git import git
    from gates.spec.problems import did_you_mean

    known = git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes").splitlines()
    return did_you_mean(name, known) or "`git branch --all` and `git tag` list what there is"


def _given(options: Mapping[str, Sequence[object]]) -> tuple[str, ...]:
    """The options that have a value other than the usual one, as they are typed."""
    given = [(name, str(value)) for name, values in options.items() for value in values if value and value != USUAL.get(name)]
    return tuple(part for each in given for part in each)


def _design(text: str) -> Design:
    from gates.regression.values import FEWEST_PAIRS, Design

    first, _, second = text.partition("+")
    if not (first.isdecimal() and second.isdecimal() and int(first) >= FEWEST_PAIRS and int(second) >= FEWEST_PAIRS):
        raise UsageError(f"--pairs {text!r} is not two numbers of at least {FEWEST_PAIRS}", hint="such as --pairs 12+30")
    return Design(first=int(first), second=int(second), most=2 * int(second))


def _tolerance(below: str, fail_above: str) -> Tolerance:
    from gates.quantity import parse
    from gates.regression.values import Tolerance

    try:
        passing, failing = parse(below, Unit.RATIO), parse(fail_above, Unit.RATIO)
        if passing < failing:
            raise UsageError(f"--below {below} is less than --fail-above {fail_above}", hint="lower --fail-above, too")
        return Tolerance(passing, failing)
    except ValueError as error:
        raise UsageError(f"--below {below!r} or --fail-above {fail_above!r}: {error}") from None


def _writable(folder: Path | None) -> Path | None:
    """*folder*, made before anything is measured. Raises UsageError when nothing can be kept there."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder for --evidence can't be written: {error.strerror}", location=str(folder)) from None
    return folder


def _short(name: str, commit: str) -> str:
    return "the working tree" if commit == "." else commit[:9] if commit.startswith(name) else f"{name} ({commit[:9]})"
