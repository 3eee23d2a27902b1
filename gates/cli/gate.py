"""Hidden commands that the pipeline starts itself: one gate, and the guardian."""

from __future__ import annotations

import signal
from pathlib import Path

import click


@click.command("_gate", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def gate_command(folder: Path) -> None:
    """Run the gate whose request lies in FOLDER. It ends, and heals its faults, when it is told to or the engine is gone."""
    from gates.pipeline.gate_process import execute, told_to_end
    from gates.pipeline.tree import die_with_parent

    signal.signal(signal.SIGTERM, told_to_end)
    die_with_parent()
    execute(folder)


@click.command("_guardian", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def guardian_command(folder: Path) -> None:
    """Wait for the end of the engine that runs FOLDER, and tidy up if it was killed."""
    from gates.pipeline.guardian import watch

    watch(folder)
