"""The house itself: who may import whom, what plug-ins may need, and workflows that are what their templates say."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gates.cli import workflows
from gates.spec import resolve

ROOT = Path(__file__).resolve().parents[1]
RENDERED = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# Imports every plug-in of ours in a process where only the base dependencies and the standard library can be imported.
BARE = """
import importlib.metadata as metadata, re, sys

def closure(name, seen):
    key = name.lower().replace("_", "-")
    if key in seen:
        return seen
    seen.add(key)
    for line in metadata.requires(name) or ():
        if "extra ==" not in line:
            wanted = re.match(r"[A-Za-z0-9_.-]+", line).group()
            try:
                closure(wanted, seen)
            except metadata.PackageNotFoundError:
                pass
    return seen

base = closure("readiness-gates", set())
owners = metadata.packages_distributions()
allowed = {top for top, of in owners.items() if any(name.lower().replace("_", "-") in base for name in of)}

class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in owners and top not in allowed and top != "gates":
            raise ImportError(f"{top} is not a base dependency")

sys.meta_path.insert(0, Bare())
groups = [group for group in metadata.entry_points().groups if group.startswith("gates.")]
points = [point for group in groups for point in metadata.entry_points(group=group)]
for point in points:
    try:
        point.load()
    except ImportError as error:
        print(f"{point.group} {point.name}: {error}")
print(len(points), "plug-ins", file=sys.stderr)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment at the root of the tree."""
    tool = Path(sys.executable).with_name(command[0])
    return subprocess.run([str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def test_rooms_import_only_what_the_design_allows() -> None:
    """The contracts of .importlinter hold."""
    result = run("lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout


def test_every_room_is_under_contract() -> None:
    """A new room that nobody named in .importlinter would stand outside of every rule."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    floors = set(re.findall(r"gates\.\w+", contracts["importlinter:contract:floors"]["layers"]))
    apart = {"gates.node", "gates.recovery"}  # they have contracts of their own
    rooms = {f"gates.{path.parent.name}" for path in (ROOT / "gates").glob("*/__init__.py")}
    assert rooms - floors - apart == set()


def test_plug_ins_import_with_the_base_dependencies_alone() -> None:
    """Every session resolves the same plan, whatever extras its environment has."""
    result = run("python", "-c", BARE)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_the_bare_import_check_sees_what_is_missing() -> None:
    """The check above is able to go red: numpy is an extra."""
    result = run("python", "-c", BARE + "\nimport numpy")
    assert "numpy is not a base dependency" in result.stderr


def test_workflows_are_what_their_templates_say() -> None:
    """A template that was edited but not rendered, or a rendered file edited by hand, is drift."""
    for path, text in workflows.rendered(ROOT).items():
        assert path.read_text("utf-8") == text, f"{path.name} drifted; run `gates workflows`"


def test_every_action_is_held_by_a_commit_and_names_its_version() -> None:
    """Tags move, commits don't."""
    for path in RENDERED:
        uses = re.findall(r"\buses:\s*(.*)", path.read_text("utf-8"))
        assert uses
        assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_an_action_without_a_pin_is_refused_by_name() -> None:
    """Rendering never lets a floating reference through."""
    with pytest.raises(workflows.BadFileError, match="somebody/else has no commit"):
        workflows.render("steps:\n  - uses: somebody/else\n", {}, source="workflows/github/x.yml")


def test_no_expression_reaches_a_shell() -> None:
    """`${{ }}` inside `run:` would let a branch name be a command."""
    for path in RENDERED:
        jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
        assert [step["run"] for job in jobs for step in job["steps"] if "${{" in step.get("run", "")] == []


def test_the_last_job_always_runs_and_needs_all_others() -> None:
    """A required check that is skipped counts as passed on GitHub; this one never is."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/production-readiness.yml").read_text("utf-8"))["jobs"]
    assert jobs["readiness"]["if"] == "always()"
    assert set(jobs["readiness"]["needs"]) == set(jobs) - {"readiness"}


def test_every_session_of_the_night_is_one() -> None:
    """A function of the noxfile without its decorator would end the night's job at once."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/production-readiness.yml").read_text("utf-8"))["jobs"]
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)\(session", noxfile, re.MULTILINE))
    assert set(jobs["nightly"]["strategy"]["matrix"]["session"]) <= sessions
    assert set(re.findall(r"^def (\w+)\(session(?:: nox.Session)?\)", noxfile, re.MULTILINE)) == sessions


def test_workflows_pass_zizmor() -> None:
    """The files are named: given a folder, zizmor skips some and still says that all is well."""
    result = run("zizmor", "--offline", "--no-progress", "--persona=pedantic", *map(str, RENDERED))
    assert result.returncode == 0, result.stdout
    for path in RENDERED:
        assert f"completed {path}" in result.stderr


def test_workflows_match_the_schema_of_github(tmp_path: Path) -> None:
    """The vendored schema, so nothing is fetched; and a misspelt key is seen."""
    check = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    result = run(*check, *map(str, RENDERED))
    assert result.returncode == 0, result.stdout
    misspelt = tmp_path / "misspelt.yml"
    misspelt.write_text(RENDERED[0].read_text("utf-8").replace("steps:", "stepz:", 1), "utf-8")
    assert run(*check, str(misspelt)).returncode == 1


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, ["--", "--profile", "quick"]),
        ({"RATE": "200/s"}, ["--", "--profile", "quick", "--set", "gates.sustained.rate=200/s"]),
        (
            {"DURATION": "10 min", "FEDERATION_SIZE": "5; rm -rf /"},
            ["--", "--profile", "quick", "--set", "gates.sustained.for=10 min", "--set", "target.federation.nodes=5; rm -rf /"],
        ),
    ],
)
def test_inputs_of_a_manual_run_become_overrides_and_nothing_else(
    tmp_path: Path, inputs: dict[str, str], expected: list[str]
) -> None:
    """The step is executed as GitHub does, with a `noxw` that only says what it was given."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/production-readiness.yml").read_text("utf-8"))["jobs"]
    step = next(step for step in jobs["gates"]["steps"] if step.get("name") == "The main job")
    stub = tmp_path / "noxw"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "PROFILE": "quick", "DURATION": "", "RATE": "", "FEDERATION_SIZE": "", **inputs}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    result = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == expected


def test_inputs_of_a_manual_run_are_overrides_that_the_spec_knows() -> None:
    """The paths of `--set` in the workflow name keys of our own readiness.yaml."""
    workflow = (ROOT / ".github/workflows/production-readiness.yml").read_text("utf-8")
    values = {"DURATION": "10 min", "RATE": "200/s", "FEDERATION_SIZE": "5"}
    overrides = [f"{path}={values[name]}" for path, name in re.findall(r'--set "([\w.]+)=\$(\w+)"', workflow)]
    assert len(overrides) == len(values)
    resolved = resolve(ROOT / "workflows/readiness.yaml", root=ROOT, profile="standard", overrides=overrides)
    sustained = next(gate for gate in resolved.gates if gate.name == "sustained")
    assert (sustained.settings["load"]["rate"], sustained.settings["load"]["seconds"]) == (200, 600)
    assert sustained.target is not None
    assert len(sustained.target.endpoints) == 5


@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
@pytest.mark.parametrize("nodes", [2, 5])
def test_a_manual_run_may_have_any_size_with_any_profile(profile: str, nodes: int) -> None:
    """A small federation gives the healthy nodes fewer requests; they must still be enough to judge."""
    overrides = [f"target.federation.nodes={nodes}"]
    resolved = resolve(ROOT / "workflows/readiness.yaml", root=ROOT, profile=profile, overrides=overrides)
    assert all(gate.criteria for gate in resolved.gates)


def test_ci_installs_every_program_that_a_test_needs() -> None:
    """Otherwise GATES_REQUIRE=all would fail on a bare machine."""
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_needs.py")
    needs = set(re.findall(r'mark\.needs\("([^"]+)", "apt-get install ([^"]+)"\)', tests))
    assert needs
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    pairs = set(re.findall(r"([\w.-]+):([\w.-]+)", script.partition("programs=(")[2].partition(")")[0]))
    lines = {(library, package) for library, package in needs if ".so" in library}
    assert needs - lines <= pairs
    assert all(f"wanted+=({package})" in script for _, package in lines)


@pytest.mark.parametrize(
    "last",
    [
        "12 passed, 3 deselected in 65.31s (0:01:05)",
        "=== 1 failed, 3 passed, 2 warnings in 4.10s ===",
        "\x1b[32m\x1b[1m12 passed\x1b[0m\x1b[32m in 0.10s\x1b[0m",
    ],
)
def test_the_last_line_of_ci_is_pytests_own(tmp_path: Path, last: str) -> None:
    """Plain, framed, or in colours because somebody forces them; what Nox says after it is left out."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    (line,) = [line for line in script.splitlines() if "passed|failed" in line]
    (tmp_path / "log").write_text(f"3 passed in a test's output\n{last}\nnox > Session tests was successful.\n", "utf-8")
    environment = {**os.environ, "log": str(tmp_path / "log")}
    result = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == re.sub(r"\x1b\[[0-9;]*m", "", last) + "\n"


def test_the_script_of_ci_is_clean_for_shellcheck() -> None:
    """What nobody runs by hand is read by a machine."""
    assert run("shellcheck", ".ci/run").stdout == ""


def endless_waits(tree: ast.AST, *, bounded: bool = False) -> list[int]:
    """The lines of the loops that only look whether something is so, with no end when it never is."""
    found = []
    for node in ast.iter_child_nodes(tree):
        within = bounded or (isinstance(node, ast.AsyncWith) and "asyncio.timeout(" in ast.unparse(node.items[0]))
        if isinstance(node, ast.While) and not within and _is_endless(node):
            found.append(node.lineno)
        found += endless_waits(node, bounded=within)
    return found


def _is_endless(loop: ast.While) -> bool:
    text = ast.unparse(loop)
    told = "monotonic()" in text or "in_time()" in text  # a `waiting.Bound`
    return not told and (all(map(_only_waits, loop.body)) or "sleep(" in text)


def _only_waits(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Pass, ast.Continue, ast.Assert)) or ast.unparse(statement) == "..."


def test_no_test_waits_without_a_bound() -> None:
    """What never comes must be a failure that names it, not a run that hangs until the gate is ended."""
    lines = {path: endless_waits(ast.parse(path.read_text())) for path in (ROOT / "tests").rglob("*.py")}
    assert [f"{path}:{line}" for path, found in lines.items() for line in found] == []


def test_a_wait_without_a_bound_is_found() -> None:
    """A loop that passes, sleeps or asserts something else; not one with a clock or a time limit, or that works."""
    endless = ("pass", "continue", "time.sleep(1)", "await asyncio.sleep(0)", "assert alive()")
    for body in endless:
        assert endless_waits(ast.parse(f"async def f():\n  while not x():\n    {body}")) == [2]
        assert endless_waits(ast.parse(f"async def f():\n  async with asyncio.timeout(1):\n    while x:\n      {body}")) == []
    for body in ("assert time.monotonic() < end", "work()"):
        assert endless_waits(ast.parse(f"while not x():\n  {body}")) == []
