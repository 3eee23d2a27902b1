"""Hidden commands that the pipeline starts itself: one gate, and the guardian."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("_gate", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def gate_command(folder: Path) -> None:
    """Run the gate whose request lies in FOLDER."""
    from gates.pipeline.gate_process import execute

    execute(folder)


@click.command("_guardian", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def guardian_command(folder: Path) -> None:
    """Wait for the end of the engine that runs FOLDER, and tidy up if it was killed."""
    from gates.pipeline.guardian import watch

    watch(folder)
