"""The command `gates`: a lazy group of subcommands, and the edge where exceptions become one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import click

from gates.cli.console import console
from gates.errors import Exit, GatesError

# name -> module that holds a click command of the same name; imported only when it is used
COMMANDS = {
    "check": "gates.cli.check",
    "schema": "gates.cli.schema",
    "plan": "gates.cli.plan",
    "run": "gates.cli.run",
    "report": "gates.cli.report",
    "open": "gates.cli.report",
    "explain": "gates.cli.explain",
    "load": "gates.cli.load",
    "drill": "gates.cli.drill",
    "faults": "gates.cli.faults",
    "explore": "gates.cli.explore",
    "baseline": "gates.cli.baseline",
    "compare": "gates.cli.compare",
    "workflows": "gates.cli.workflows",
    "_gate": "gates.cli.gate",
    "_guardian": "gates.cli.gate",
}
SUMMARIES = {
    "check": "Check a readiness.yaml and everything that it names.",
    "schema": "Print the JSON Schema of readiness.yaml, a scenario or the report.",
    "plan": "Show what a run would do: the graph, times, missing controls.",
    "run": "Run the gates and write the report.",
    "report": "Judge a run again from its files and render it.",
    "open": "Open the HTML report of a run.",
    "explain": "Explain one criterion of a run: value, interval, limit, evidence.",
    "load": "Run one load scenario against a URL.",
    "drill": "Seed known defects and show that the gates catch them.",
    "faults": "List the faults that a scenario can name and what works here; `faults clean` tidies up.",
    "explore": "Try random sequences of faults, and shrink one that fails.",
    "compare": "Compare two commits by their benchmarks, in pairs of processes.",
    "baseline": "List, show, accept and prune stored baselines.",
    "workflows": "Write the GitHub workflows from their templates.",
}


def started_as() -> str:
    """The form of this command that works where it was started: `gates` or `./noxw gates`."""
    return "./noxw gates" if os.environ.get("GATES_STARTED_BY") == "noxw" else "gates"


class LazyGroup(click.Group):
    """Lists commands without importing them; plug-ins add theirs by the entry-point group `gates.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*SUMMARIES, *self._plugins()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            found = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.lstrip("_") + "_command")
            assert isinstance(found, click.Command)
            return found
        point = self._plugins().get(cmd_name)
        return point.load() if point else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary or self._plugin_summary(ctx, name)) for name, summary in rows])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close and "Did you mean" not in error.message:
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
            raise

    def _plugin_summary(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str() if command else ""

    @staticmethod
    def _plugins() -> dict[str, Any]:
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group="gates.commands")}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="readiness-gates", message="%(version)s")
@click.option("-q", "--quiet", is_flag=True, help="Only errors and results.")
@click.option("-v", "--verbose", is_flag=True, help="Say more while working.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(quiet: bool, verbose: bool, debug: bool) -> None:
    """Decide from measured evidence whether a build may be released.

    Exit codes: 0 ready, 1 not ready, 2 usage, 3 inconclusive, 4 bad file, 5 nothing selected,
    6 unsigned, 70 internal error, 130 interrupted.
    """
    console.quiet = console.quiet or quiet
    console.verbose = console.verbose or verbose
    console.debug = console.debug or debug


def main() -> NoReturn:
    """Run the command line and exit by its code; nobody sees a traceback without --debug."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(_run(sys.argv[1:]))


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name=started_as(), standalone_mode=False)
        return int(code) if isinstance(code, int) else 0
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return int(Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        console.talk("interrupted")
        return int(Exit.INTERRUPTED)
    except GatesError as error:
        _traceback()
        console.error(str(error))
        return int(error.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return int(Exit.READY)
    except Exception as error:
        _traceback()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space, then `{started_as()} report` judges what there is"
            console.error(f"{error.filename or 'a file'} can't be written: {error.strerror}\n  {hint}")
            return int(Exit.INCONCLUSIVE)
        console.error(f"internal error: {type(error).__name__}: {error}\n  run again with --debug to see where")
        return int(Exit.INTERNAL)


def _traceback() -> None:
    if console.debug:
        traceback.print_exc()
