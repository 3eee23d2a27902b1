"""What a gate process left behind: a result that can be judged, or the reason why there is none."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gates import codec
from gates.errors import BadFileError
from gates.model import Evidence, Execution, GateResult, LogTail, MetricSpec, PlannedGate
from gates.pipeline.folder import GateFolder

TAIL = 40
LARGEST = 64 << 20
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|[\x00-\x08\x0b-\x1f\x7f]")
_MEDIA = {".log": "text/plain", ".jsonl": "application/x-ndjson", ".yaml": "application/yaml", ".xml": "application/xml"}


def read_result(folder: GateFolder, gate: PlannedGate) -> GateResult | str:
    """The result in *folder*, checked against *gate* and its evidence; or the reason why it can't be used."""
    if not folder.path.is_dir():
        return "it was not executed in this run, or its folder was deleted"
    if folder.unfinished.exists():
        return "its process was not seen to end"
    return left_result(folder, gate)


def left_result(folder: GateFolder, gate: PlannedGate) -> GateResult | str:
    """What `read_result` gives, of a gate whose process has only just ended."""
    if not folder.result.is_file():
        return "it has no result"
    if folder.result.stat().st_size > LARGEST:
        return f"its result is larger than {LARGEST >> 20} MiB"
    try:
        result = codec.read(folder.result, GateResult)
    except BadFileError as error:
        return f"its result can't be used: {error.message}"
    if result.gate != gate.name:
        return f"its result belongs to another gate, {result.gate!r}"
    return evidence_problem(folder, result.evidence) or result


def evidence_problem(folder: GateFolder, evidence: Iterable[Evidence]) -> str:
    """What is wrong with the first piece of *evidence* that is not as the result says; empty when all is well."""
    for piece in evidence:
        path = folder.path / piece.path
        if not path.resolve().is_relative_to(folder.path.resolve()):
            return f"the evidence {piece.path} lies outside of the gate's folder"
        if not path.is_file():
            return f"the evidence {piece.path} is not there"
        if piece.size != path.stat().st_size or piece.sha256 != file_digest(path):
            return f"the evidence {piece.path} is not what the result was made from: its digest differs"
    return ""


def undeclared(result: GateResult, catalogue: Sequence[MetricSpec], gate: PlannedGate) -> str:
    """The first metric of *result* that neither its kind nor a built-in criterion of *gate* declares; else empty."""
    names = {spec.name for spec in catalogue} | {criterion.metric for criterion in gate.criteria if criterion.built_in}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    found = (m.metric for m in result.measurements)
    return next((metric for metric in found if metric not in names and not (prefixes and metric.startswith(prefixes))), "")


def with_evidence(folder: GateFolder, result: GateResult) -> GateResult:
    """*result* with every file of the gate's evidence folder in its list, each with size and digest."""
    listed = {piece.path: piece for piece in result.evidence}
    for path in sorted(folder.evidence.rglob("*")):
        name = str(path.relative_to(folder.path))
        piece = listed.get(name)
        if path.is_file() and not path.is_symlink() and (piece is None or not piece.sha256):
            listed[name] = Evidence(
                name, path.stat().st_size, file_digest(path), piece.media_type if piece else media_type(path)
            )
    return replace(result, evidence=tuple(listed.values()))


def file_digest(path: Path) -> str:
    """sha256 of the file at *path*, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def media_type(path: Path) -> str:
    return _MEDIA.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def log_tail(path: Path, lines: int = TAIL, *, title: str = "Last lines of its output") -> LogTail | None:
    """The last *lines* of the log at *path* without terminal escapes; None when it is empty or not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 256 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    kept = [_ESCAPES.sub("", line.rpartition("\r")[2] or line)[:500] for line in text.rstrip().splitlines()[-lines:]]
    return LogTail(title, tuple(kept)) if kept else None


def without_result(
    gate: PlannedGate,
    execution: Execution,
    reason: str,
    *,
    started: str,
    seconds: float = 0.0,
    attempt: int = 1,
    log: Path | None = None,
) -> GateResult:
    """The result of a gate that has none of its own: *execution* and *reason*, and the end of its *log*."""
    tail = log_tail(log) if log is not None else None
    return GateResult(
        gate.name, execution, started, round(seconds, 3), exhibits=(tail,) if tail else (), reason=reason, attempt=attempt
    )


def set_aside(folder: GateFolder) -> bool:
    """Keep what a gate wrote as its result, under the name of an invalid one; whether there was anything."""
    if not folder.result.exists():
        return False
    folder.result.replace(folder.invalid)
    return True


def keep_attempt(folder: GateFolder, number: int) -> None:
    """Move everything of attempt *number* into a folder of its own."""
    there = folder.attempt(number)
    there.mkdir()
    for path in list(folder.path.iterdir()):
        if path != there and not path.name.startswith("attempt-"):
            path.rename(there / path.name)


def read_attempts(folder: GateFolder, gate: PlannedGate) -> tuple[GateResult, ...]:
    """The earlier attempts that can still be read."""
    found = (read_result(GateFolder(path), gate) for path in sorted(folder.path.glob("attempt-*")))
    return tuple(result for result in found if isinstance(result, GateResult))


def shown_invalid(value: object) -> str:
    """JSON of something that is no valid result, for people; it may hold NaN."""
    return json.dumps(codec.to_json(value), ensure_ascii=False, indent=1, default=str)
