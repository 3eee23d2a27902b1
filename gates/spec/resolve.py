"""readiness.yaml and a profile's name become planned gates and claims, or every problem at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gates import registry
from gates.errors import UsageError
from gates.model import Claim, Finding, Level, PlannedGate, Severity
from gates.spec import yaml
from gates.spec.choices import LEVELS, choose
from gates.spec.claims import bind
from gates.spec.context import Plugins
from gates.spec.gate import GateResolver, Surroundings, kind_and_settings
from gates.spec.graph import bridged, cycle, ordered
from gates.spec.models import GateModel, ProfileModel, SpecModel
from gates.spec.nodes import Node
from gates.spec.nodes import Path as NodePath
from gates.spec.overrides import override
from gates.spec.problems import Problem, SpecErrors, did_you_mean
from gates.spec.targets import read_target
from gates.spec.validate import validate

T = TypeVar("T")
MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec as one profile runs it.

    Attributes:
        gates: in the order of the plan: after what they need, otherwise as in the file.
        profile: the profile's name; *level* is the one whose values it takes: quick, standard or full.
        budget: seconds that the profile allows for the whole run, 0 when it has none.
        digest: sha256 of the file's bytes.
        require: what else the profile asks for: `drills`, `approvals`.
        elsewhere: gates of the file that this profile does not run.
    """

    gates: tuple[PlannedGate, ...]
    claims: tuple[Claim, ...]
    profile: str
    level: str
    budget: float
    digest: str
    require: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    elsewhere: tuple[str, ...] = ()


def resolve(
    path: Path | str, *, root: Path, profile: str, overrides: Sequence[str] = (), plugins: Plugins = registry.plugins
) -> Resolved:
    """The plan of the spec at *path* for *profile*, with `PATH=VALUE` *overrides*.

    Raises SpecErrors with everything that is wrong, and UsageError when the spec knows no such profile.
    """
    document, content = yaml.read(Path(path), display_name(Path(path), root))
    level = _level(document, profile)
    problems: list[Problem] = []
    _check_size(document)
    chosen = override(_chosen(document, level), overrides, problems)
    node = chosen.get("target")
    target = read_target(node, ("target",), plugins(registry.TARGETS), problems) if node is not None else None
    shared = Surroundings(root, profile, level, plugins, target, node is not None, problems)
    found = _Resolver(chosen, shared).resolve(hashlib.sha256(content).hexdigest())
    if problems or found is None:
        raise SpecErrors(problems)
    return found


def profiles(path: Path | str, *, root: Path) -> tuple[str, ...]:
    """The names of the profiles in the spec at *path*; quick, standard and full when it names none. Raises SpecErrors."""
    document, _ = yaml.read(Path(path), display_name(Path(path), root))
    return tuple(_profile_names(document)) or LEVELS


def read_yaml(path: Path | str, schema: type[T], profile: str = "full", *, root: Path | None = None) -> T:
    """The single YAML file at *path* as a *schema*, its choices taken for *profile* (quick, standard or full).

    Raises SpecErrors with everything that is wrong.
    """
    if profile not in LEVELS:
        raise UsageError(f"unknown profile {profile!r}", hint=did_you_mean(profile, LEVELS))
    node, _ = yaml.read(Path(path), display_name(Path(path), root or Path.cwd()))
    problems: list[Problem] = []
    valid = validate(schema, choose(node, profile), (), problems)
    if valid is None:
        raise SpecErrors(problems)
    return valid


def display_name(path: Path, root: Path) -> str:
    """*path* relative to *root* when it lies inside, else as it is."""
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except (OSError, ValueError, RuntimeError):
        return str(path)


def _check_size(document: Node) -> None:
    """Refuse what is too much for a person's file, before the work on it grows with the square of it."""
    for key in ("gates", "claims"):
        node = document.get(key)
        size = max(len(node.entries or ()), len(node.items or ())) if node is not None else 0
        if node is not None and size > MOST_ENTRIES:
            raise SpecErrors([node.named.problem(key, f"more than {MOST_ENTRIES} {key} (got {size:,})")])


def _profile_names(document: Node) -> list[str]:
    given = document.get("profiles")
    return list(given.entries) if given is not None and given.entries else []


def _level(document: Node, profile: str) -> str:
    names = _profile_names(document)
    if profile not in (*names, *LEVELS):
        raise UsageError(f"unknown profile {profile!r}", hint=did_you_mean(profile, [*names, *LEVELS]))
    origin = document.get("profiles", profile, "as")
    level = origin.scalar if origin is not None else profile
    return level if isinstance(level, str) and level in LEVELS else LEVELS[0]


def _chosen(document: Node, level: str) -> Node:
    """Choices taken everywhere but under `profiles`, whose keys are names of profiles themselves."""
    if document.entries is None:
        return document
    entries = {key: node if key == "profiles" else choose(node, level) for key, node in document.entries.items()}
    return Node(document.place, entries=entries)


class _Resolver:
    """Resolves a document whose choices and overrides are taken."""

    def __init__(self, document: Node, shared: Surroundings) -> None:
        self.document = document
        self.shared = shared
        self.problems = shared.problems
        self.profile = shared.profile
        self.level = shared.level

    def resolve(self, digest: str) -> Resolved | None:
        """The plan, or None after noting what is wrong."""
        spec = validate(SpecModel, self.document, (), self.problems)
        models = dict(spec.gates) if spec is not None else self._gates_that_are_right()
        self._check_profiles(models)
        needs = self._needs(models)
        if needs is None:
            return None
        here = [name for name in ordered(needs) if self._is_planned(models[name])]
        gates = [self._gate(name, models[name], bridged(name, needs, here)) for name in here]
        planned = tuple(gate for gate in gates if gate is not None)
        if spec is None or len(planned) < len(here):
            return None
        self._check_counted(planned)
        self._check_required(spec, planned)
        claims = bind(spec.claims, self.document.get("claims") or self.document, _known(models, planned), self.problems)
        return self._resolved(spec, planned, claims, digest, tuple(name for name in models if name not in here))

    def _resolved(
        self,
        spec: SpecModel,
        gates: tuple[PlannedGate, ...],
        claims: tuple[Claim, ...],
        digest: str,
        elsewhere: tuple[str, ...],
    ) -> Resolved:
        own = spec.profiles.get(self.profile, ProfileModel())
        budget = own.budget or spec.profiles.get(self.level, ProfileModel()).budget
        findings = (*_findings(claims, elsewhere), *_unmet(own.require))
        return Resolved(gates, claims, self.profile, self.level, budget, digest, own.require, findings, elsewhere)

    def _gates_that_are_right(self) -> dict[str, GateModel]:
        """The gates that can be looked into further though something else is wrong, so that all errors come at once."""
        node = self.document.get("gates")
        found: dict[str, GateModel] = {}
        for name, gate in (node.entries or {}).items() if node is not None else ():
            model = validate(GateModel, gate, (), []) or _without_what_is_wrong(gate)
            if model is not None:
                found[name] = model
            elif gate.entries is not None:
                kind_and_settings(self.shared, name, gate)
        return found

    def _check_profiles(self, models: Mapping[str, GateModel]) -> None:
        known = [*LEVELS, *_profile_names(self.document)]
        for name, model in models.items():
            for index, profile in enumerate(model.profiles or ()):
                if profile not in known:
                    steps: NodePath = ("gates", name, "profiles", index)
                    place = self.document.deepest(steps)[0].place
                    self.problems.append(place.problem(steps, f"unknown profile {profile!r}", did_you_mean(profile, known)))

    def _is_planned(self, model: GateModel) -> bool:
        return model.profiles is None or self.profile in model.profiles or self.level in model.profiles

    def _needs(self, models: Mapping[str, GateModel]) -> dict[str, tuple[str, ...]] | None:
        """What each gate needs; None when the needs make no order."""
        gates = self.document.get("gates")
        every = list(gates.entries or {}) if gates is not None else []
        for name, model in models.items():
            for index, need in enumerate(model.needs):
                if need not in every:
                    steps: NodePath = ("gates", name, "needs", index)
                    place = self.document.deepest(steps)[0].place
                    self.problems.append(place.problem(steps, f"there is no gate {need!r}", did_you_mean(need, every)))
        needs = {name: tuple(need for need in model.needs if need in models) for name, model in models.items()}
        found = cycle(needs)
        if not found:
            return needs
        circle: NodePath = ("gates", found[0], "needs")
        place = self.document.deepest(circle)[0].named
        self.problems.append(place.problem(circle, f"gates need each other in a circle: {' -> '.join(found)}"))
        return None

    def _gate(self, name: str, model: GateModel, needs: tuple[str, ...]) -> PlannedGate | None:
        node = self.document.get("gates", name)
        assert node is not None
        return GateResolver(self.shared, name, model, node).resolve(needs)

    def _check_required(self, spec: SpecModel, gates: Sequence[PlannedGate]) -> None:
        required = spec.profiles.get(self.profile, ProfileModel()).require
        if "drills" in required and not any(gate.kind == "drills" for gate in gates):
            steps: NodePath = ("profiles", self.profile, "require", required.index("drills"))
            place = self.document.deepest(steps)[0].place
            self.problems.append(place.problem(steps, "no gate of this profile is of the kind drills", "add one"))

    def _check_counted(self, gates: Sequence[PlannedGate]) -> None:
        counted = [each for gate in gates for each in gate.criteria if each.severity is Severity.BLOCKING and not each.built_in]
        if not counted:
            place = (self.document.get("gates") or self.document).named
            message = f"a plan without a counted criterion (profile {self.profile})"
            self.problems.append(
                place.problem("gates", message, "give at least one gate of this profile a criterion that blocks")
            )


def _without_what_is_wrong(gate: Node) -> GateModel | None:
    """The gate without the keys that are wrong, to look into the others; None when too little is left for that."""
    problems: list[Problem] = []
    validate(GateModel, gate, (), problems)
    wrong = {problem.path.partition(".")[0] for problem in problems}
    if gate.entries is None or wrong & {"", "kind", "criteria"}:
        return None
    kept = {key: node for key, node in gate.entries.items() if key not in wrong}
    return validate(GateModel, Node(gate.place, entries=kept, key=gate.key), (), [])


def _known(models: Mapping[str, GateModel], planned: Sequence[PlannedGate]) -> dict[str, list[str]]:
    """The ids of the criteria of every gate of the file; built-in ones where the gate is planned."""
    known = {name: list(model.criteria) for name, model in models.items()}
    return known | {gate.name: [criterion.id for criterion in gate.criteria] for gate in planned}


def _unmet(required: Sequence[str]) -> list[Finding]:
    """What the profile requires and nothing can give yet: it keeps the run from READY rather than being passed over."""
    if "approvals" not in required:
        return []
    message = "the profile requires approvals, which can't be given yet"
    return [Finding(Level.ERROR, message, hint="remove `approvals` from what the profile requires")]


def _findings(claims: Sequence[Claim], elsewhere: Sequence[str]) -> tuple[Finding, ...]:
    """What a person should know of a plan that is right: claims that this profile shows nothing of."""
    idle = [claim.say for claim in claims if all(each.partition(":")[0] in elsewhere for each in claim.by)]
    return tuple(Finding(Level.NOTE, f"the claim {say!r} is not applicable: no gate of this profile shows it") for say in idle)
