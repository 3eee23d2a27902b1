"""Gates that do what they must not: each becomes inconclusive with its reason, and what they wrote stays."""

from __future__ import annotations

import json

import pytest

from gates.pipeline.tree import read_process

from .conftest import Repository

pytestmark = pytest.mark.end_to_end

CASES = {
    "none": ("failed_to_run", "it has no result"),
    "half": ("failed_to_run", "its result can't be used: not valid JSON"),
    "written_nan": ("failed_to_run", "NaN is not a number in JSON"),
    "nan": ("failed_to_run", "the result holds a number that is not finite: value"),
    "half_a_character": ("failed_to_run", "the result holds text that can't be written: surrogates not allowed"),
    "undeclared": ("failed_to_run", "it measured 'invented', which the kind odd does not declare"),
    "exit": ("failed_to_run", "its process exited with 3"),
    "raise": ("failed_to_run", "internal error: RuntimeError: this kind has a bug"),
    "wrong_evidence": ("failed_to_run", "the evidence evidence/seen.txt is not what the result was made from"),
}


def test_what_is_no_valid_result_is_inconclusive_with_its_reason_and_stays(repository: Repository) -> None:
    """No result, half a result, NaN, an undeclared metric, a bad exit, a bug or false evidence: never a pass, each says why."""
    repository.spec(**{name: {"do": name} for name in CASES})
    assert repository.run() == 3
    for name, (execution, reason) in CASES.items():
        gate = repository.gate(name)
        assert (gate["outcome"], gate["execution"]) == ("inconclusive", execution), name
        assert reason in gate["reason"], name
    kept = {name for name in CASES if (repository.latest / name / "result.invalid.json").exists()}
    assert kept == {"half", "written_nan", "nan", "half_a_character", "undeclared", "exit", "wrong_evidence"}
    assert "ended early" in json.dumps(repository.gate("none")["result"]["exhibits"])
    assert (repository.latest / "wrong_evidence" / "evidence" / "seen.txt").read_text() == "what was seen"
    assert not repository.left()


def test_a_gate_beyond_its_limit_is_ended_with_everything_that_it_started(repository: Repository) -> None:
    """TERM, then KILL, reaches a process that ignores TERM and a grandchild that made itself a daemon."""
    repository.spec(slow={"do": "stubborn", "limit": "2 s"})
    assert repository.run() == 3
    gate = repository.gate("slow")
    assert gate["execution"] == "timed_out"
    assert "longer than its limit of 2 s" in gate["reason"]
    assert gate["result"]["exhibits"][-1]["lines"] == ["hangs"]
    assert not repository.left()


@pytest.mark.parametrize("daemon", ["daemon", "bare_daemon"])
def test_a_daemon_that_a_gate_left_is_ended(repository: Repository, daemon: str) -> None:
    """A daemonised grandchild is found, also when it has shed its environment; the gate's own verdict stands."""
    repository.spec(good={"do": daemon})
    assert repository.run() == 0
    if daemon == "daemon":
        assert "left running" in repository.gate("good")["result"]["findings"][0]["message"]
    assert not repository.left()
    assert read_process(int((repository.latest / "good" / "evidence" / "pid").read_text())) is None


def test_the_machine_spoils_an_attempt_and_the_gate_is_tried_once_more(repository: Repository) -> None:
    """An attempt that only a built-in criterion of the machine rejects is repeated once; both attempts are kept and shown."""
    repository.spec(calm={"do": "disturbed_once"}, noisy={"do": "always_disturbed"}, wrong={"do": "fail"})
    assert repository.run() == 1
    calm, noisy, wrong = (repository.gate(name) for name in ("calm", "noisy", "wrong"))
    assert (calm["outcome"], calm["result"]["attempt"], len(calm["earlier_attempts"])) == ("pass", 2, 1)
    assert (noisy["outcome"], noisy["result"]["attempt"], len(noisy["earlier_attempts"])) == ("inconclusive", 2, 1)
    assert (wrong["outcome"], wrong["result"]["attempt"], len(wrong["earlier_attempts"])) == ("fail", 1, 0)
    assert (repository.latest / "calm" / "attempt-1" / "result.json").exists()


def test_a_gate_sees_neither_our_variables_nor_those_of_the_ci_step(repository: Repository) -> None:
    """GATES_* and GITHUB_* are gone, CI is kept, the interpreter's folder is first on PATH, and a gate starts in the root."""
    import sys
    from pathlib import Path

    repository.spec(seen={"do": "environment"})
    given = {"GATES_SECRET": "1", "GITHUB_TOKEN": "1", "CI": "true"}
    assert repository.run(environ=given) == 0
    seen = json.loads((repository.latest / "seen" / "evidence" / "environ.json").read_text())
    assert not [name for name in seen["environ"] if name.startswith(("GATES_", "GITHUB_"))]
    assert seen["environ"]["CI"] == "true"
    assert seen["environ"]["PATH"].startswith(str(Path(sys.executable).parent))
    assert seen["cwd"] == str(repository.path)


def test_a_full_disk_is_a_reason_and_what_was_written_stays(repository: Repository) -> None:
    """A gate that may write no more ends inconclusive with a reason; the run is closed, its other gates count."""
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    repository.spec(good={}, full={"do": "fill"})
    assert repository.run(preexec_fn=small_files) == 3
    assert repository.gate("good")["outcome"] == "pass"
    assert repository.gate("full")["outcome"] == "inconclusive"
    assert "File too large" in repository.gate("full")["reason"]
    assert (repository.latest / "full" / "evidence" / "large").stat().st_size == 1 << 20
