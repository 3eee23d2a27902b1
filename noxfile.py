"""The sessions: environments only. What a gate does and what its result means is decided by the command `gates`.

Options after `--` go to the session's command: `./noxw -- --profile standard`, `./noxw -s tests -- -k breaker`.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.stop_on_first_error = False
nox.options.sessions = ["unit", "benchmarks", "load", "validation", "drills", "report"]

HERE = Path(__file__).resolve().parent
# An interrupted run still stops its processes and writes its report; Nox by itself would wait half a second.
SCENARIOS = (
    "sustained", "burst", "spike", "memory", "governance-load", "federation-3", "federation-5", "federation-10", "soak",
    "knee", "governance", "recovery-partition",
)  # fmt: skip
PATIENCE = {"interrupt_timeout": 15.0, "terminate_timeout": 15.0}


@nox.session
def unit(session: nox.Session) -> None:
    """The gates of kind `tests`."""
    gate(session, "tests", "[all]", "--group=test")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The gates of kind `benchmarks`."""
    gate(session, "benchmarks", "[bench,regression]")


@nox.session
def load(session: nox.Session) -> None:
    """The gates of kind `load`."""
    gate(session, "load", "[load,node]")


@nox.session
def validation(session: nox.Session) -> None:
    """The gates of kind `validation`: load while something breaks."""
    gate(session, "validation", "[load,node,power]")


@nox.session
def drills(session: nox.Session) -> None:
    """The gates of kind `drills`: seeded defects that must be caught."""
    gate(session, "drills", "[all]", "--group=test")


@nox.session
def report(session: nox.Session) -> None:
    """Judge the run and write its report. Last, and whatever happened before; -x (--stop-on-first-error) would drop it."""
    install(session, "")
    ran_here = run_id.cache_info().currsize > 0
    session.run("gates", "report", env={"GATES_RUN": run_id()} if ran_here else {}, **PATIENCE)


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """The project's own tests, all of them; some check types."""
    install(session, "[all]", "--group=test", "--group=lint")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Style, types and who may import whom."""
    install(session, "[all]", "--group=lint", "--group=test")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("basedpyright")
    session.run("lint-imports")


@nox.session(default=False)
def steady(session: nox.Session) -> None:
    """Run the main job 20 times (-- --runs N) on this commit, and count how it ended."""
    session.run("python", "benchmarks/steady.py", *session.posargs, "--", sys.executable, "-m", "nox")


@nox.session(default=False)
def budgets(session: nox.Session) -> None:
    """Measure what the pipeline itself costs, against its budgets."""
    install(session, "[all]", "--group=test")
    session.run("python", "benchmarks/budgets.py", *session.posargs)


@nox.session(default=False)
def compare_recovery(session: nox.Session) -> None:
    """Measure the recovery primitives against their Python peers, and write the tables into docs/recovery."""
    install(session, "", "--group=peers")
    session.run("python", "benchmarks/compare_recovery.py", "--write", "docs/recovery", *session.posargs)


@nox.session(default=False)
def compare_proxy(session: nox.Session) -> None:
    """Measure the processor time of a request through our proxy of links, beside haproxy (apt-get install haproxy)."""
    install(session, "[load]")
    session.run("python", "benchmarks/proxy_cost.py", *session.posargs)


@nox.session(default=False)
def compare_load(session: nox.Session) -> None:
    """Measure the load engine beside wrk, hey and Locust (apt-get install nginx wrk hey), and write docs/load-comparison.md."""
    install(session, "[load]", "--group=peers_load")
    session.run("python", "benchmarks/compare_load.py", "--write", "docs", *session.posargs)


@nox.session(default=False)
def scaling(session: nox.Session) -> None:
    """Measure what a load costs that is kept as counts, for docs/scaling.md (-- 4 for four seconds a part)."""
    install(session, "[load]")
    session.run("python", "benchmarks/scaling.py", *session.posargs)


@nox.session(default=False)
def node_capacity(session: nox.Session) -> None:
    """Measure what the reference node carries, against its targets (-- ceilings federation growth entropy for parts)."""
    install(session, "[all]")
    session.run("python", "benchmarks/node_capacity.py", *session.posargs)


@nox.session(default=False)
def matrix(session: nox.Session) -> None:
    """Run every fault under every kind of load (-- --times 10), and keep the count; goes on where it was interrupted."""
    install(session, "[all]")
    session.run("python", "benchmarks/matrix.py", *session.posargs, **PATIENCE)


@nox.session(default=False)
def scenarios(session: nox.Session) -> None:
    """Run every scenario once on the federation, and write one report of them (-- --profile full for the full sizes)."""
    install(session, "[all]")
    profile = () if "--profile" in session.posargs else ("--profile", "standard")
    only = [part for name in SCENARIOS for part in ("--only", name)]
    env = {"GATES_RUN": run_id()}
    try:
        session.run("gates", "run", *profile, *only, *session.posargs, env=env, **PATIENCE)
    finally:  # a part of the plan is never READY, so only what the gates themselves said counts
        session.run("gates", "report", env=env, success_codes=[0, 1, 3], **PATIENCE)


@nox.session(default=False)
def load_sensitivity(session: nox.Session) -> None:
    """Find the smallest shift of p99 and of the error ratio that is caught in 20 of 20 runs; goes on where it stopped."""
    install(session, "[all]")
    session.run("python", "benchmarks/load_sensitivity.py", "--write", "docs/load.md", *session.posargs, **PATIENCE)


@nox.session(default=False)
def explore(session: nox.Session) -> None:
    """Try random sequences of faults (-- --runs 20 --seed 7), and shrink one that fails to a scenario."""
    install(session, "[all]")
    session.run("gates", "explore", *(session.posargs or ("--runs", "20")), **PATIENCE)


@nox.session(default=False)
def history(session: nox.Session) -> None:
    """Measure what a history of a million operations takes on disk and to check, against its targets."""
    install(session, "")
    session.run("python", "benchmarks/history_cost.py", *session.posargs)


@nox.session(default=False)
def regression_simulation(session: nox.Session) -> None:
    """Simulate 10,000 gates on each of seven noisy machines, and write their error rates into docs/regression.md."""
    install(session, "[bench,regression]")
    session.run("python", "benchmarks/regression_simulation.py", "--write", "docs/regression.md", *session.posargs)


@nox.session(default=False)
def regression_real(session: nox.Session) -> None:
    """Run the regression gate on real processes, 100 times a kind (-- --gates 40 for fewer), and write docs/regression.md."""
    install(session, "[bench,regression]")
    how_many = session.posargs or ("--gates", "100")
    session.run("python", "benchmarks/regression_real.py", "--write", "docs/regression.md", *how_many)


@nox.session(default=False)
def claims(session: nox.Session) -> None:
    """Write docs/claims.md from the claims and the latest run (-- PATH/TO/readiness.json for another)."""
    install(session, "")
    session.run("python", "docs/generate_claims.py", *(session.posargs or (".readiness/latest/readiness.json",)))


@nox.session(default=False)
def properties(session: nox.Session) -> None:
    """The tests of the recovery primitives at their full sizes: a million steps of the state machine, a million keys."""
    install(session, "[all]", "--group=test")
    session.run("pytest", "tests/recovery", *session.posargs, env={"RECOVERY_STEPS": "1000000"})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change breaker and retry in thousands of ways, count what the tests notice, and write it into docs/recovery."""
    install(session, "[all]", "--group=test", "--group=mutation")
    session.run("python", "benchmarks/mutate_recovery.py", "--write", "docs/recovery", *session.posargs)


@nox.session(default=False)
def gates(session: nox.Session) -> None:
    """The full environment, for `./noxw gates ARGS`."""
    install(session, "[all]", "--group=test")


@nox.session(default=False, reuse_venv=False)
def lock(session: nox.Session) -> None:
    """Write constraints.txt anew, from the newest versions of everything."""
    session.install("-e.[all]", "--group=test", "--group=lint", "--group=tools", "--group=mutation")
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    header = "# Every version that the environments are made of. Written by ./noxw -s lock.\n"
    (HERE / "constraints.txt").write_text(f"{header}{frozen}\n")


def gate(session: nox.Session, kind: str, extras: str, *groups: str) -> None:
    """Run the gates of *kind* as part of this process's run; the session ends as they did."""
    install(session, extras, *groups)
    session.run("gates", "run", "--only", f"kind:{kind}", *session.posargs, env={"GATES_RUN": run_id()}, **PATIENCE)


def install(session: nox.Session, extras: str, *groups: str) -> None:
    """Install the project, unless the environment was already made of this pyproject, lock and interpreter."""
    environment = Path(session.virtualenv.location)
    made_of = (HERE / "pyproject.toml").read_text() + (HERE / "constraints.txt").read_text()
    # `noxw` compares the same text to see whether its `gates` is current.
    stamp = f"{HERE}\n{(environment / 'bin' / 'python').resolve()}\n{made_of}"
    mark = environment / "stamp"
    if mark.is_file() and mark.read_text() == stamp:
        return
    mark.unlink(missing_ok=True)
    locked = ("--constraint=constraints.txt", "--build-constraint=constraints.txt")
    session.install(*locked, f"-e.{extras}", *groups)
    mark.write_text(stamp)


@cache
def run_id() -> str:
    """The id of the run that all gate sessions of this process belong to: UTC time, short commit, four random hex digits."""
    git = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout[:7]
    except (OSError, subprocess.CalledProcessError):
        commit = "nogit"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{commit}-{secrets.token_hex(2)}"
