"""A spec becomes a run: plan.json and the start in the ledger, before anything is executed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from gates import codec
from gates.errors import Exit, GatesError
from gates.model import Plan
from gates.pipeline import alive
from gates.pipeline.folder import RunFolder, checked_run_id, new_run_id, prepare, prune, set_latest, stamp, utc_now
from gates.pipeline.history import history
from gates.pipeline.ledger import NAME, START, Entry, Ledger, Reading
from gates.pipeline.machine import fingerprint, read_commit
from gates.spec import resolve

RESERVE = 256 * 1024


def make_plan(
    spec: Path,
    *,
    root: Path,
    profile: str = "quick",
    overrides: Sequence[str] = (),
    run: str | None = None,
    seed: int | None = None,
    runs: Path | None = None,
    reading: Reading | None = None,
    command: str = "gates",
    clock: Callable[[], datetime] = utc_now,
    salt: Callable[[int], str] = secrets.token_hex,
    environ: Mapping[str, str] = os.environ,
) -> Plan:
    """The plan of *spec* for the tree at *root*, with what the ledger of *runs* (read as *reading*) says of the past.

    Writes nothing. Raises SpecErrors with everything that is wrong with the spec.
    """
    resolved = resolve(spec, root=root, profile=profile, overrides=overrides)
    commit, now = read_commit(root), clock()
    known = reading if reading is not None else Reading()
    past = history(runs or root, commit, known, alive.is_alive, this_machine_only=_this_machine_only(environ, known))
    return Plan(
        run=checked_run_id(run) if run else new_run_id(now, commit.short, salt),
        created=stamp(now),
        version=version("readiness-gates"),
        root=str(root),
        spec=_relative(spec, root),
        spec_digest=resolved.digest,
        profile=resolved.profile,
        seed=secrets.randbits(31) if seed is None else seed,
        commit=commit,
        fingerprint=fingerprint(root),
        gates=resolved.gates,
        claims=resolved.claims,
        overrides=tuple(overrides),
        history=past,
        command=command,
        budget=resolved.budget,
        findings=resolved.findings,
    )


def begin(plan_of: Callable[[Reading], Plan], runs: Path, *, clock: Callable[[], datetime] = utc_now) -> tuple[RunFolder, Plan]:
    """Make the plan with what the ledger says now, record its start, and write it as plan.json of a new run folder.

    Raises GatesError when the run is there already or the files can't be written.
    """
    prepare(runs)
    ledger = Ledger(runs / NAME)
    with ledger.held():
        reading = ledger.read()
        plan = plan_of(reading)
        folder = RunFolder(runs / plan.run)
        _make(folder)
        digest = codec.digest(plan)
        start = Entry(START, plan.run, stamp(clock()), reading.head, plan.commit.sha, plan.commit.dirty, digest)
        try:
            ledger.append(start)
            codec.write(folder.plan, plan)
            set_latest(folder)
        except (OSError, GatesError) as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise _unwritable(folder, error) from None
    prune(runs, lambda other: other == folder or alive.is_alive(other))
    return folder, plan


def _make(folder: RunFolder) -> None:
    try:
        folder.path.mkdir()
    except FileExistsError:
        raise GatesError(f"the run {folder.run} is there already", location=str(folder.path)) from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        _reserve(folder)
    except OSError as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise _unwritable(folder, error) from None


def _reserve(folder: RunFolder) -> None:
    folder.reserve.write_bytes(bytes(RESERVE))


def _unwritable(folder: RunFolder, error: OSError | GatesError) -> GatesError:
    if isinstance(error, GatesError):
        return error
    return GatesError(
        f"the run folder can't be written: {error.strerror or error}",
        location=str(folder.path),
        hint="free some space and run again",
        code=Exit.INCONCLUSIVE,
    )


def _this_machine_only(environ: Mapping[str, str], reading: Reading) -> bool:
    """In CI a ledger with earlier lines came along as an artifact; without one this machine is all that is known."""
    return not (environ.get("CI") and reading.entries)


def _relative(spec: Path, root: Path) -> str:
    try:
        return str(spec.resolve().relative_to(root.resolve()))
    except ValueError:
        return str(spec.resolve())
