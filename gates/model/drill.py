"""Drills: what a plug-in declares of a seeded defect and of what must catch it (entry point `gates.drills`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gates.model.words import Outcome

PROOF = ("reached", "triggered", "caught", "control")


def proves(row: Mapping[str, str]) -> bool:
    """Whether a row of a drills gate's table shows its criterion red: reached, triggered and caught, beside a sound control."""
    return all(row.get(fact) == "yes" for fact in PROOF) and {"gate", "criterion"} <= row.keys()


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of an inner run: *spec* in the plain values of its readiness.yaml, and *files* as text by relative path.

    With *before*, the tree is a git repository of two commits: those files with the spec, then *files* with it.
    """

    spec: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] | None = None

    @property
    def profile(self) -> str:
        """The profile that the inner run takes: the first that its spec names."""
        return next(iter(self.spec.get("profiles", ())), "quick")

    def gate(self, name: str) -> Mapping[str, Any]:
        """The settings of the gate *name*, as written."""
        found: Mapping[str, Any] = self.spec["gates"][name]
        return found

    def with_gate(self, name: str, **settings: Any) -> Tree:
        """This tree, with *settings* in the place of the gate's own."""
        gates = {**self.spec["gates"], name: {**self.gate(name), **settings}}
        return replace(self, spec={**self.spec, "gates": gates})

    def with_target(self, **target: Any) -> Tree:
        """This tree, with another target for all of its gates."""
        return replace(self, spec={**self.spec, "target": target})

    def with_file(self, path: str, text: str) -> Tree:
        """This tree, with another file."""
        return replace(self, files={**self.files, path: text})

    def with_more(self, path: str, text: str) -> Tree:
        """This tree, with *text* at the end of a file."""
        return self.with_file(path, self.files[path] + text)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an independent probe saw of a defect.

    *reached* counts how often the defect was in the path, *triggered* how often it had its effect; *text* says in a sentence
    where that was seen.
    """

    reached: int
    triggered: int
    text: str


@dataclass(frozen=True, slots=True)
class Base:
    """A gate of the real spec, made small: the inner run without a defect, shared by several drills as their control.

    Attributes:
        name: unique.
        gate: the gate of readiness.yaml that it is made from, its kind and target kept.
        criteria: those of the gate's criteria that are kept, exactly as they are.
        settings: what takes the place of the gate's own settings.
        scenario: what takes the place of top-level keys of the gate's scenario, where it has one.
        copies: files and folders that are copied from the repository.
        moved: the same, to another place: `gates/recovery` to `src/gates/recovery`.
        committed: the tree is a git repository of two commits, the first of them without the defect.
        profile: the one that the inner run takes, and the limits with it.
        files: files that are made, by path.
        seconds: how long a run of it takes.
    """

    name: str
    gate: str
    criteria: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    scenario: Mapping[str, Any] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    committed: bool = False
    profile: str = "quick"
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Drill:
    """A seeded defect, how it shows, and what must catch it.

    Attributes:
        name: unique among all drills.
        criterion: the criterion of the base's gate that must catch it.
        seed: puts the defect into the tree of the base.
        probe: looks for the defect's effect, given the gate's folder in the inner run and the tree; never through the pipeline.
        take_away: what is done to the gate's folder after a run without a defect, for drills that remove evidence.
        expects: what the criterion must say: `fail`, or `inconclusive` where the drill takes evidence away.
        seconds: how long its own run takes, without the control.
    """

    name: str
    summary: str
    base: Base
    criterion: str
    seed: Callable[[Tree], Tree]
    probe: Callable[[Path, Path], Sighting]
    take_away: Callable[[Path], None] | None = None
    expects: Outcome = Outcome.FAIL
    seconds: float = 5.0
