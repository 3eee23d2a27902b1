"""A kind that does what a gate must not do; the tests put its folder on PYTHONPATH."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gates.fields import Settings
from gates.model import (
    Comparator,
    Comparison,
    Criterion,
    Evidence,
    Execution,
    GateResult,
    KindPlan,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Unit,
)

SLEEP = "import time; time.sleep(300)"


class OddSettings(Settings):
    do: str = "nothing"


class Odd:
    name, summary, measures, needs_target, settings = "odd", "does odd things", False, False, OddSettings
    metrics = (MetricSpec("value", Unit.COUNT, Rule.CENSUS, "a number"),)

    def plan(self, settings: Any, context: Any) -> KindPlan:
        limit = Comparison(Comparator.AT_MOST, 0, text="0")
        calm = Criterion("valid.calm", Unit.COUNT, Rule.CENSUS, (limit,), 1, built_in=True, machine=True)
        return KindPlan({"do": settings.do}, built_in=(calm,))

    def run(self, request: Request) -> GateResult:
        getattr(self, "do_" + request.gate.settings["do"], lambda request: None)(request)
        return self.result(request)

    def result(self, request: Request) -> GateResult:
        do = request.gate.settings["do"]
        value = {"nan": float("nan"), "fail": 1}.get(do, 0)
        disturbed = {"always_disturbed": 1, "disturbed_once": 2 - request.attempt}.get(do, 0)
        measurements = [
            Measurement("value", value, Unit.COUNT, 1),
            Measurement("valid.calm", disturbed, Unit.COUNT, 1),
        ]
        if do == "half_a_character":
            return GateResult(request.gate.name, Execution.COMPLETED, "", 0.0, tuple(measurements), summary="\ud800")
        if do == "undeclared":
            measurements.append(Measurement("invented", 0, Unit.COUNT, 1))
        evidence = ()
        if do in ("evidence", "wrong_evidence"):
            (request.evidence / "seen.txt").write_text("what was seen")
            digest = hashlib.sha256(b"what was seen").hexdigest() if do == "evidence" else "0" * 64
            evidence = (Evidence("evidence/seen.txt", 13, digest, "text/plain"),)
        return GateResult(request.gate.name, Execution.COMPLETED, "", 0.0, tuple(measurements), evidence=evidence)

    def do_raise(self, request: Request) -> None:
        raise RuntimeError("this kind has a bug")

    def do_none(self, request: Request) -> None:
        os.write(1, b"ended early\n")
        os._exit(0)

    def do_half(self, request: Request) -> None:
        Path(request.folder, "result.json").write_text('{"gate": "odd", "execu')
        os._exit(0)

    def do_written_nan(self, request: Request) -> None:
        from gates import codec

        text = codec.dumps(self.result(request)).replace('"value":0', '"value":NaN')
        Path(request.folder, "result.json").write_text(text)
        os._exit(0)

    def do_exit(self, request: Request) -> None:
        from gates import codec

        codec.write(Path(request.folder, "result.json"), self.result(request))
        os._exit(3)

    def do_early(self, request: Request) -> None:
        """A result that is written before the gate has ended."""
        from gates import codec

        codec.write(Path(request.folder, "result.json"), self.result(request))
        self.do_hang(request)

    def do_daemon(self, request: Request) -> None:
        self.daemon(request, dict(os.environ))

    def do_bare_daemon(self, request: Request) -> None:
        self.daemon(request, {})

    def daemon(self, request: Request, environment: dict[str, str]) -> None:
        """A grandchild in a session of its own, whose parent is gone; its pid is left in the evidence."""
        start = f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True, env={environment!r})"
        twice = f"import subprocess, sys, pathlib; pathlib.Path({str(request.evidence / 'pid')!r}).write_text(str({start}.pid))"
        subprocess.run([sys.executable, "-c", twice], check=True)

    def do_hang(self, request: Request) -> None:
        self.daemon(request, dict(os.environ))
        os.write(1, b"hangs\n")
        time.sleep(300)

    def do_stubborn(self, request: Request) -> None:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.do_hang(request)

    def do_heal(self, request: Request) -> None:
        heal = Path(request.folder, "heal")
        heal.mkdir()
        (heal / "fault.json").write_text(json.dumps({"command": ["touch", f"{request.folder}/healed"]}))
        self.do_hang(request)

    def do_inner(self, request: Request) -> None:
        """A run inside this gate, whose gate wants to be alone."""
        spec = Path(request.folder, "inner.yaml")
        spec.write_text("version: 1\ngates: {inner: {kind: odd-alone, criteria: {value: {at_most: 0}}}}\n")
        command = [sys.executable, "-m", "gates", "run", str(spec), "--root", str(Path(request.folder, "runs"))]
        subprocess.run(command, check=False)

    def do_environment(self, request: Request) -> None:
        (request.evidence / "environ.json").write_text(json.dumps({"environ": dict(os.environ), "cwd": os.getcwd()}))

    def do_fill(self, request: Request) -> None:
        with (request.evidence / "large").open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()


class OddAlone(Odd):
    name, measures = "odd-alone", True
