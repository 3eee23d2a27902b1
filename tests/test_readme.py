"""The README keeps its word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gates.cli.main import cli
from gates.spec import resolve

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SERVER = """
const http = require("http");
const answer = (request, response) => { response.statusCode = BROKEN ? 500 : 200; response.end("hello"); };
http.createServer(answer).listen(Number(process.argv[2]), "127.0.0.1");
"""


def own_service(folder: Path, *, broken: bool = False) -> None:
    """The YAML blocks of the README as the files that their first lines name, and a small server to put under the gate."""
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (folder / "server.js").write_text(SERVER.replace("BROKEN", "true" if broken else "false"))


def gates(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*."""
    command = Path(sys.executable).with_name("gates")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GATES_", "GITHUB_", "READINESS_"))
    }
    return subprocess.run([command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ['{command: [node, server.js, "{port}"]}', '{url: "https://staging.example"}'])
@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_the_lines_of_the_readme_are_a_plan(tmp_path: Path, target: str, profile: str) -> None:
    """With either target that they name, in every profile."""
    assert target in README
    own_service(tmp_path)
    spec = tmp_path / "workflows" / "readiness.yaml"
    spec.write_text(re.sub(r"(?m)^target: .*$", f"target: {target}", spec.read_text("utf-8")), "utf-8")
    (gate,) = resolve(spec, root=tmp_path, profile=profile).gates
    assert gate.target is not None
    assert gate.missing == ()


@pytest.mark.end_to_end
@pytest.mark.needs("node", "apt-get install nodejs")
@pytest.mark.parametrize(("broken", "code", "verdict"), [(False, 0, "ready"), (True, 1, "not_ready")])
def test_the_lines_of_the_readme_put_a_service_under_a_gate(tmp_path: Path, broken: bool, code: int, verdict: str) -> None:
    """Exactly those lines: a server that answers is READY, one that answers 500 is NOT READY."""
    own_service(tmp_path, broken=broken)
    result = gates(tmp_path, "run")
    assert result.returncode == code, result.stdout + result.stderr
    report = json.loads((tmp_path / ".readiness" / "latest" / "readiness.json").read_text("utf-8"))
    assert report["verdict"] == verdict


def test_every_file_that_the_documents_link_is_there() -> None:
    """A dead link is the first thing that a newcomer finds."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (document, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    ]
    assert links
    assert [f"{document.name}: {link}" for document, link in links if not (document.parent / link).exists()] == []


def test_the_guide_leads_to_every_page_of_it() -> None:
    """A page that nothing links is a page that nobody reads."""
    guide = ROOT / "docs" / "guide"
    linked = set(re.findall(r"\]\((\w+\.md)\)", (guide / "index.md").read_text("utf-8")))
    assert {page.name for page in guide.glob("*.md")} - {"index.md"} == linked


def test_commands_and_sessions_that_the_documents_name_exist() -> None:
    """Every `./noxw gates COMMAND` of the README names a command, every `-s SESSION` of any document a session."""
    commands = cli.list_commands(click.Context(cli))
    assert set(re.findall(r"\./noxw gates ([a-z]+)", README)) <= set(commands)
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\./noxw -s (\w+)", page.read_text("utf-8"))}
    assert named <= sessions
    assert "scaling" in named
