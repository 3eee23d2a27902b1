"""How many small changes of breaker and retry the tests notice.

    python benchmarks/mutate_recovery.py [--sample 40] [--seed 1] [--least 95]

Each mutant is one change of one module in a copy of the package: a comparison turned, a number moved, a condition negated, an
operator swapped, a statement left out. The tests of `tests/recovery` run over the copy and stop at the first failure. Without
`--sample` every mutant is run, which takes a night. Ends with 1 when fewer than `--least` percent were noticed; survivors are
printed with their line.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = ("machine.py", "breaker.py", "circuit.py", "window.py", "retry.py", "budget.py")
TESTS = (
    *("test_breaker.py", "test_machine.py", "test_window.py", "test_retry.py", "test_budget.py", "test_backoff.py"),
    *("test_deadline.py", "test_policy.py", "test_conformance.py", "test_leaks.py", "test_registry.py", "test_observation.py"),
)
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Mutant:
    """One change: of which module, at which line, what it is, and the module's text with it."""

    def __init__(self, module: str, line: int, what: str, text: str) -> None:
        self.module = module
        self.line = line
        self.what = what
        self.text = text

    def __str__(self) -> str:
        return f"gates/recovery/{self.module}:{self.line}: {self.what}"


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of *module*, one place after the other."""
    source = (ROOT / "gates" / "recovery" / module).read_text("utf-8")
    places = sum(1 for _ in ast.walk(ast.parse(source)))
    for place in range(places):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[place]
        what = changed(node)
        if what and inside_function(tree, node):
            yield Mutant(module, getattr(node, "lineno", 0), what, ast.unparse(tree))


def changed(node: ast.AST) -> str:
    """Change *node* in place; what was done, or nothing."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
        return swapped(node.ops, 0)
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in TURNED:
        before, node.op = node.op, TURNED[type(node.op)]()  # type: ignore[assignment]
        return f"{type(before).__name__} became {type(node.op).__name__}"
    if isinstance(node, ast.BoolOp):
        before_bool, node.op = node.op, TURNED[type(node.op)]()  # type: ignore[assignment]
        return f"{type(before_bool).__name__} became {type(node.op).__name__}"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        node.value = node.value + 1
        return f"{node.value - 1} became {node.value}"
    if isinstance(node, ast.If) and not isinstance(node.test, ast.Compare):
        node.test = ast.fix_missing_locations(ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test))
        return "a condition was negated"
    return ""


def swapped(operators: list[ast.cmpop], index: int) -> str:
    before = operators[index]
    operators[index] = TURNED[type(before)]()  # type: ignore[assignment]
    return f"{type(before).__name__} became {type(operators[index]).__name__}"


def inside_function(tree: ast.AST, node: ast.AST) -> bool:
    """Whether *node* runs: defaults and slots are declarations, and a module's `if TYPE_CHECKING` is nobody's."""
    functions = (each for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return any(node is part for function in functions for statement in function.body for part in ast.walk(statement))


def copied(folder: Path) -> None:
    """The package and its tests, by themselves."""
    shutil.copytree(ROOT / "gates" / "recovery", folder / "gates" / "recovery", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "gates" / "__init__.py", folder / "gates")
    (folder / "tests").mkdir()
    for name in TESTS:
        shutil.copy(ROOT / "tests" / "recovery" / name, folder / "tests")
    settings = '[tool.pytest.ini_options]\naddopts = "-q -x --import-mode=importlib"\nfilterwarnings = ["error"]\n'
    (folder / "pyproject.toml").write_text(settings)


def noticed(folder: Path) -> bool:
    """Whether the tests over the copy in *folder* fail, or hang."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "RECOVERY_STEPS": "500", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(f"tests/{name}" for name in TESTS)]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sample", type=int, help="how many mutants, drawn by the seed; all without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=95.0, help="percent that must be noticed")
    options = parser.parse_args()
    every = [mutant for module in MODULES for mutant in mutants(module)]
    chosen = random.Random(options.seed).sample(every, min(options.sample, len(every))) if options.sample else every
    survivors = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(folder)
        if noticed(folder):
            sys.stderr.write("the tests fail without any mutant\n")
            return 2
        for mutant in chosen:
            place = folder / "gates" / "recovery" / mutant.module
            sound = place.read_text("utf-8")
            place.write_text(mutant.text, "utf-8")
            if not noticed(folder):
                survivors.append(mutant)
                sys.stdout.write(f"survived: {mutant}\n")
            place.write_text(sound, "utf-8")
    share = 100 * (1 - len(survivors) / len(chosen))
    sys.stdout.write(f"{share:.0f} % of {len(chosen)} mutants (of {len(every)}) were noticed\n")
    return int(share < options.least)


if __name__ == "__main__":
    sys.exit(main())
