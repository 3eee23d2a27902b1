"""What a kind is offered while it plans: files read by the same loader, errors put at the right line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gates.errors import BadFileError
from gates.model import Criterion, TargetPlan
from gates.spec import yaml
from gates.spec.choices import choose
from gates.spec.nodes import Node, Place
from gates.spec.nodes import Path as NodePath
from gates.spec.problems import Problem, SpecErrors, got
from gates.spec.validate import validate

T = TypeVar("T")
Plugins = Callable[[str], Mapping[str, Any]]


class UnusableError(BadFileError):
    """A file that a setting names has problems, which are noted already; the kind can't plan without it."""


class Context:
    """The `KindContext` of one gate.

    Attributes:
        root: the repository's root; paths in files are relative to it.
        profile: the profile's name.
        target: the system under test; None when the kind needs none.
        criteria: the gate's own criteria.
    """

    def __init__(
        self,
        root: Path,
        profile: str,
        level: str,
        target: TargetPlan | None,
        criteria: tuple[Criterion, ...],
        node: Node,
        path: NodePath,
        problems: list[Problem],
        plugins: Plugins,
    ) -> None:
        self.root = root
        self.profile = profile
        self.target = target
        self.criteria = criteria
        self._level = level
        self._node = node
        self._path = path
        self._problems = problems
        self._plugins = plugins

    def read(self, path: str, schema: type[T], *, setting: str) -> T:
        """The YAML file at *path* as a *schema*. Raises UnusableError after noting what is wrong with it."""
        file = self._inside(path, setting)
        try:
            node, _ = yaml.read(file, str(path))
        except SpecErrors as error:
            self._note(error, setting, path)
            raise UnusableError(f"{path} can't be used", location=path) from None
        valid = validate(schema, choose(node, self._level), (), self._problems)
        if valid is None:
            raise UnusableError(f"{path} can't be used", location=path)
        return valid

    def error(self, setting: str, message: str, hint: str = "") -> None:
        """Note an error at the line of *setting*, or of the nearest key above it that is written in the spec."""
        self._problems.append(self._place(setting).problem((*self._path, *([setting] if setting else [])), message, hint))

    def plugins(self, group: str) -> Mapping[str, Any]:
        """Plug-ins of an entry-point group by name."""
        return self._plugins(group)

    def _place(self, setting: str) -> Place:
        node, taken, rest = self._node.walk_dotted(setting)
        criterion = taken[:1] == ("criteria",) and len(taken) == 2
        return node.named if rest or criterion or node.entries is not None else node.place

    def _inside(self, path: str, setting: str) -> Path:
        try:
            file = (self.root / path).resolve()
            inside = file.is_relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            self.error(setting, f"the path leaves the repository {got(path)}", "paths are relative to the repository's root")
            raise UnusableError(f"{path} lies outside the repository", location=path)
        return file

    def _note(self, error: SpecErrors, setting: str, path: str) -> None:
        for problem in error.problems:
            if problem.line:
                self._problems.append(problem)
            else:
                self.error(setting, f"{path}: {problem.message}", problem.hint)
