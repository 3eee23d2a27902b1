"""Trees of processes: who belongs, and that all of it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gates.pipeline import tree

from .conftest import SLEEP, until

TOKEN = f"tree-of-{os.getpid()}"


def start(*code: str, environ: dict[str, str] | None = None, new_session: bool = True) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(code)], env=os.environ | (environ or {}), start_new_session=new_session
    )


@pytest.mark.parametrize(
    ("value", "belongs"),
    [(TOKEN, True), (f"{TOKEN}:inner", True), (f"outer:{TOKEN}", True), (f"{TOKEN}x", False)],
    ids=["alone", "outer", "inner", "longer"],
)
def test_a_process_belongs_when_one_of_its_tokens_is_the_trees(value: str, belongs: bool) -> None:
    """Tokens nest and are compared whole: the outer tree holds the inner one, a longer name is another tree."""
    with start(SLEEP, environ={"READINESS_TREE": value}) as process:
        until(lambda: f"READINESS_TREE={value}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes())
        assert [found.pid for found in tree.find(TOKEN)] == ([process.pid] if belongs else [])
        process.kill()


def test_the_end_reaches_children_that_lost_the_token_and_one_that_ignores_term() -> None:
    """A descendant without the variable belongs by its parent; who ignores TERM gets KILL."""
    deaf = "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN)"
    with start(deaf, f"subprocess.run([sys.executable, '-c', {SLEEP!r}], env={{}})", environ={"READINESS_TREE": TOKEN}):
        until(lambda: len(tree.find(TOKEN)) == 2)
        assert len(tree.end(TOKEN, grace=0.3)) == 2
        assert tree.find(TOKEN) == []


def test_a_leaders_session_belongs_without_any_token() -> None:
    """So the guardian ends a gate of which it knows the pid alone."""
    with start(SLEEP) as process:
        assert [found.pid for found in tree.find("no-such-token", [process.pid])] == [process.pid]
        tree.end("no-such-token", [process.pid])
        assert process.wait(5) == -15


def test_a_process_that_cannot_be_ended_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another user, or one that the kernel holds, must not hang the engine for ever."""
    now = iter(range(1000))
    monkeypatch.setattr(tree, "_signal", lambda *arguments: None)
    with start(SLEEP, environ={"READINESS_TREE": TOKEN}) as process:
        until(lambda: tree.find(TOKEN))
        assert len(tree.end(TOKEN, grace=1.0, sleep=lambda seconds: None, clock=lambda: float(next(now)))) == 1
        assert process.poll() is None
        process.kill()
