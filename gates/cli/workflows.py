"""`gates workflows`: write the templates of workflows/github into .github/workflows, with every action held by a commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from gates.cli.console import console
from gates.cli.main import started_as
from gates.errors import BadFileError, Exit

TEMPLATES = Path("workflows/github")
RENDERED = Path(".github/workflows")
PIN = re.compile(r"^(?P<action>[\w./-]+): (?P<commit>[0-9a-f]{40}) # (?P<version>v\S+)$", re.MULTILINE)
USES = re.compile(r"(?P<before>\buses: +)(?P<action>[\w./-]+)$", re.MULTILINE)


def read_pins(text: str) -> dict[str, str]:
    """What stands after `uses:` for each action in *text* (pins.yaml): `action@commit # version`."""
    return {pin["action"]: f"{pin['action']}@{pin['commit']} # {pin['version']}" for pin in PIN.finditer(text)}


def render(template: str, pins: Mapping[str, str], *, source: str) -> str:
    """The workflow that GitHub is given: *template* with every `uses: action` held by its pin."""

    def pinned(use: re.Match[str]) -> str:
        if use["action"] not in pins:
            raise BadFileError(
                f"the action {use['action']} has no commit",
                location=source,
                hint=f"add `{use['action']}: COMMIT # vVERSION` to {TEMPLATES / 'pins.yaml'}",
            )
        return use["before"] + pins[use["action"]]

    return f"# Rendered from {source} by `gates workflows`; edit that one.\n" + USES.sub(pinned, template)


def rendered(root: Path) -> dict[Path, str]:
    """What each file of .github/workflows below *root* should hold. Raises BadFileError."""
    pins = read_pins((root / TEMPLATES / "pins.yaml").read_text("utf-8"))
    sources = sorted((root / TEMPLATES).glob("*.yml"))
    return {
        root / RENDERED / source.name: render(source.read_text("utf-8"), pins, source=str(TEMPLATES / source.name))
        for source in sources
    }


@click.command("workflows")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when a file differs from its template.")
def workflows_command(check: bool) -> int:
    """Write the GitHub workflows from their templates."""
    stale = {path: text for path, text in rendered(Path()).items() if not path.is_file() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if check:
            console.error(f"{path} differs from its template; write it with {started_as()} workflows")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            console.talk(f"wrote {path}")
    return int(Exit.NOT_READY) if check and stale else int(Exit.READY)
