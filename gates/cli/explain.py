"""`gates explain`: everything that is known of one criterion."""

from __future__ import annotations

import sys

import click

from gates.cli.console import console


@click.command("explain")
@click.argument("name", metavar="GATE:CRITERION")
@click.argument("run", required=False)
@click.option("--root", metavar="DIR", help="The folder of runs; default: .readiness of the repository.")
@click.option("--json", "as_json", is_flag=True, help="The criterion of readiness.json, as JSON.")
def explain_command(name: str, run: str | None, root: str | None, as_json: bool) -> None:
    """Explain one criterion of RUN: value, interval, samples, limit, margin, evidence, how to measure it again.

    RUN is a run's name or folder; without it GATES_RUN, else the run that started last.
    """
    from gates import codec
    from gates.cli.report import chosen_run, read_report
    from gates.report import explain

    folder = chosen_run(run, root)
    report = read_report(folder)
    gate, criterion = explain.find(report, name)
    if as_json:
        sys.stdout.write(codec.dumps(criterion))
        sys.stdout.flush()
    else:
        console.data(explain.render(report, gate, criterion, str(folder.path)).rstrip("\n"))
