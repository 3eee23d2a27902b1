"""The inside of `python -m gates _gate FOLDER`: one kind measures and leaves its result."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from gates import codec
from gates.errors import GatesError
from gates.model import Execution, GateResult, Request
from gates.pipeline.folder import GateFolder, stamp, utc_now
from gates.pipeline.results import shown_invalid, with_evidence
from gates.registry import KINDS


def load_kind(name: str) -> Any:
    """The kind *name*, without importing any other plug-in. Raises GatesError when it is not there or can't be loaded."""
    for point in entry_points(group=KINDS, name=name):
        try:
            loaded = point.load()
        except Exception as error:
            raise GatesError(f"the kind {name!r} can't be loaded: {error}", hint="install what it needs") from error
        return loaded() if isinstance(loaded, type) else loaded
    raise GatesError(f"no kind {name!r} is installed")


def told_to_end(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the gate as Ctrl-C does, once: kernel and guardian may both tell it, and healing must not be ended by the second."""
    signal.signal(number, lambda *_: None)  # not ignored, which its children would inherit
    raise KeyboardInterrupt


def execute(path: Path) -> None:
    """Run the gate whose request lies in *path*, and write its result there."""
    folder = GateFolder(path)
    request = codec.read(folder.request, Request)
    folder.evidence.mkdir(exist_ok=True)
    os.chdir(request.root)
    started, begin = stamp(utc_now()), time.monotonic()
    try:
        result = with_evidence(folder, load_kind(request.gate.kind).run(request))
    except KeyboardInterrupt:
        result = _failed(request, Execution.CANCELLED, "the gate was ended before it had measured", started, begin)
    except GatesError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- the gate's log
        result = _failed(request, Execution.FAILED_TO_RUN, error.said, started, begin, error.hint)
    except Exception as error:
        traceback.print_exc()
        reason = f"internal error: {type(error).__name__}: {error}"
        result = _failed(request, Execution.FAILED_TO_RUN, reason, started, begin)
    _leave(folder, request, result)


def _failed(request: Request, execution: Execution, reason: str, started: str, begin: float, hint: str = "") -> GateResult:
    steps = (hint,) if hint else ()
    return GateResult(request.gate.name, execution, started, time.monotonic() - begin, reason=reason, steps=steps)


def _leave(folder: GateFolder, request: Request, result: GateResult) -> None:
    try:
        codec.write(folder.result, result)
    except ValueError as error:
        folder.invalid.write_text(shown_invalid(result), encoding="utf-8", errors="backslashreplace")
        culprits = ", ".join(m.key for m in result.measurements if not _finite(m.value)) or "an exhibit"
        reason = f"the result holds a number that is not finite: {culprits}"
        if isinstance(error, UnicodeEncodeError):
            reason = f"the result holds text that can't be written: {error.reason}"
        codec.write(
            folder.result, GateResult(request.gate.name, Execution.FAILED_TO_RUN, result.started, result.seconds, reason=reason)
        )


def _finite(value: float) -> bool:
    return value == value and value not in (float("inf"), float("-inf"))
