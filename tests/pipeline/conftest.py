"""A repository with a spec, and runs of it as real processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gates.pipeline import tree

ODD = Path(__file__).parent / "odd"
SLEEP = "import time; time.sleep(300)"
DROPPED = ("GATES_", "READINESS_", "GITHUB_", "NOX_")


def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """What *condition* gives, once it is true."""
    patience = time.monotonic() + within
    while time.monotonic() < patience:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("the condition never came true")


class Repository:
    """A folder with `workflows/readiness.yaml`, whose runs carry a token of their own and lock a machine of their own."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self.runs = path / ".readiness"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
        self.environ = kept | {
            "READINESS_TREE": token,
            "READINESS_LOCK_FOLDER": str(path.parent / "lock"),
            "READINESS_STATE_FOLDER": str(path.parent / "state"),
            "PYTHONPATH": str(ODD),
            "NO_COLOR": "1",
        }
        self.started: list[subprocess.Popen[str]] = []

    def spec(self, **gates: dict[str, Any]) -> None:
        """Write a spec of gates of kind `odd`, each with the criterion `value` at most 0."""
        whole = {name: {"kind": "odd", "criteria": {"value": {"at_most": 0}}} | gate for name, gate in gates.items()}
        (self.path / "workflows").mkdir(exist_ok=True)
        (self.path / "workflows" / "readiness.yaml").write_text(json.dumps({"version": 1, "gates": whole}))

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `gates ARGUMENTS`, or another *program* with them; both streams go to a file whose text `said` gives."""
        self.output = self.path.parent / f"output-{len(self.started)}"
        environ = self.environ | options.pop("environ", {})
        program = options.pop("program", ("-m", "gates"))
        with self.output.open("w") as file:
            command = [sys.executable, *program, *arguments]
            process = subprocess.Popen(command, cwd=self.path, env=environ, stdout=file, stderr=file, text=True, **options)
        self.started.append(process)
        return process

    def run(self, *arguments: str, **options: Any) -> int:
        """Run `gates ARGUMENTS` to its end; its exit code."""
        return self.start(*(arguments or ("run",)), **options).wait(60)

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def latest(self) -> Path:
        return (self.runs / "latest").resolve()

    def report(self, run: Path | None = None) -> dict[str, Any]:
        return json.loads(((run or self.latest) / "readiness.json").read_text())

    def gate(self, name: str) -> dict[str, Any]:
        return next(gate for gate in self.report()["gates"] if gate["gate"]["name"] == name)

    def ledger(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.runs / "ledger.jsonl").read_text().splitlines()]

    def hangs(self, gate: str) -> bool:
        """Whether *gate* has begun to hang."""
        log = self.latest / gate / "output.log"
        return log.exists() and "hangs" in log.read_text()

    def left(self) -> list[tree.Process]:
        """What still lives of everything that was started here."""
        return tree.find(self.token)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository; at the end everything that was started in it is killed, should a test have failed."""
    (tmp_path / "repo").mkdir()
    made = Repository(tmp_path / "repo", f"test.{os.getpid()}.{tmp_path.name}")
    yield made
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
    tree.end(made.token, grace=0)
