"""The documents say what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from gates.cli.main import cli
from gates.errors import PRECEDENCE, Exit
from gates.pipeline import judge

ROOT = Path(__file__).resolve().parents[1]


def shown_commands() -> list[str]:
    """Every line of the documents that is a command `gates` to paste, without comment and brackets of what may be left out."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    lines = [line for document in documents for line in document.read_text("utf-8").splitlines()]
    found = [match[1] for line in lines if (match := re.match(r"\s*(?:\./noxw )?gates ([a-z]+ ?.*)", line)) and "`" not in line]
    commands = (re.split(r"\s#|\s>|  ", line)[0].replace("[", "").replace("]", "").strip() for line in found)
    return sorted({command for command in commands if command.split()[0] in cli.list_commands(click.Context(cli))})


def tables_of_docstring(text: str) -> list[tuple[str, str]]:
    """The rows of the tables in *text*: a line without a second column goes on with the row before."""
    rows: list[list[str]] = []
    column = re.search(r"^=+ +", text, re.MULTILINE)
    assert column
    width = len(column.group())
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not line.startswith("=")]
        for line in lines if len(lines) < len(block.splitlines()) else []:
            first, second = line[:width].strip(), line[width:].strip()
            if second:
                rows.append([first, second])
            else:
                rows[-1][0] += f" {first}"
    return [(first, second) for first, second in rows]


def tables_of_markdown(text: str) -> list[tuple[str, str]]:
    """The rows of the two-column tables in *text*."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return [(first.strip(), second.strip()) for first, second in rows]


def test_the_published_tables_are_those_of_the_judge() -> None:
    """docs/verdicts.md and the docstring of the judge have the same rows in the same order."""
    published = tables_of_markdown((ROOT / "docs" / "verdicts.md").read_text("utf-8"))
    rows = [(first.replace("`", ""), second.replace("`", "").replace("**", "")) for first, second in published]
    expected = [(first.replace("`", ""), second.replace("`", "")) for first, second in tables_of_docstring(judge.__doc__ or "")]
    assert len(expected) > 12
    assert [row for row in rows if not row[0].isdigit() and row[0] != "code"] == expected


def test_every_exit_code_is_documented() -> None:
    """Codes and their order of importance."""
    text = (ROOT / "docs" / "verdicts.md").read_text("utf-8")
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(int(code)) for code in sorted(Exit)]
    assert ", ".join(str(int(code)) for code in PRECEDENCE) in text


@pytest.mark.parametrize("line", shown_commands())
def test_a_command_of_the_documents_is_one_that_can_be_pasted(line: str) -> None:
    """Its options are there and take what is written; nothing is run."""
    name, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command
    command.make_context(name, arguments)


def test_there_are_commands_in_the_documents() -> None:
    """Else the test above would hold for none."""
    assert len(shown_commands()) >= 15


def test_the_lines_of_the_regression_guide_are_short_and_its_table_is_aligned() -> None:
    """A long line is read by nobody in an editor, and a shifted cell by nobody at all."""
    lines = (ROOT / "docs" / "guide" / "regression.md").read_text("utf-8").splitlines()
    assert [line for line in lines if len(line) > 145 and not line.startswith("|")] == []
    start = next(number for number, line in enumerate(lines) if line.startswith("benchmark  "))
    sample = lines[start : lines.index("```", start)]
    columns = [match.start() for match in re.finditer(r"(?<=  )\S", sample[0])]
    assert {row.split()[0] for row in sample[1:]} == {"slugify", "count_words", "table.parse[10]", "table.parse[60]", "control"}
    for row in sample:
        assert [match.start() for match in re.finditer(r"(?<=  )\S", row)] == columns


def test_the_keys_of_flows_and_the_declared_checkers_are_documented() -> None:
    """What a scenario or a plug-in may write is found without the source."""
    from gates.history import declared
    from gates.load.flows import Flow
    from gates.target.presets import CommandSettings

    guide = {page: (ROOT / "docs" / "guide" / f"{page}.md").read_text("utf-8") for page in ("load", "recovery", "targets")}
    assert [key for key in Flow.model_fields if f"`{key}" not in guide["load"]] == []
    assert [name for name in declared.__all__ if f"{name}(" not in guide["recovery"]] == []
    assert [key for key in CommandSettings.model_fields if f"| `{key}` |" not in guide["targets"]] == []
