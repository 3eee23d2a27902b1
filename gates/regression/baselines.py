"""Stored baselines: `baselines/<fingerprint>/<gate>.json`, summaries of earlier green runs on machines of one fingerprint.

They are reviewed as a diff, so every run and every number stands on a line of its own; a digest over all of it shows an edit by
hand. Only `gates baseline accept` writes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median, stdev

from gates import codec
from gates.errors import BadFileError

VERSION = 1
FOLDER = "baselines"
KEPT = 50
FEWEST_RUNS = 20
LATEST = 20
DEVIATIONS = 4.0
LEVEL = 0.99


@dataclass(frozen=True, slots=True)
class BaselineRun:
    """What one green run measured: values in base units by `metric[@phase][/selector]`, and why it was taken in."""

    run: str
    commit: str
    when: str
    reason: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The accepted runs of one gate on one fingerprint, the oldest first; *digest* is over everything else."""

    fingerprint: Mapping[str, str]
    gate: str
    runs: tuple[BaselineRun, ...]
    version: int = VERSION
    digest: str = ""

    def sealed(self) -> Baseline:
        """This baseline with the digest that it should have."""
        return replace(self, digest=codec.digest(replace(self, digest="")))

    def with_run(self, run: BaselineRun) -> Baseline:
        """With another run; of more than `KEPT` the oldest go."""
        return replace(self, runs=(*self.runs, run)[-KEPT:]).sealed()

    def values(self, key: str) -> tuple[float, ...]:
        """What was measured for *key*, the oldest first."""
        return tuple(run.values[key] for run in self.runs if key in run.values)

    @property
    def newest(self) -> Mapping[str, float]:
        """What the newest accepted run measured; a number that it lacks is gone for good."""
        return self.runs[-1].values if self.runs else {}

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for run in self.runs for key in run.values))


def identity(fingerprint: Mapping[str, str]) -> str:
    """The folder's name for *fingerprint*."""
    return codec.digest(dict(fingerprint))[:12]


def place(root: Path, fingerprint: Mapping[str, str], gate: str) -> Path:
    """Where the baseline of *gate* on *fingerprint* lies in the repository at *root*."""
    return root / FOLDER / identity(fingerprint) / f"{gate}.json"


def text(baseline: Baseline) -> str:
    """The file as it is written: every number on a line of its own, so that a diff shows what moved."""
    return json.dumps(codec.to_json(baseline), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Baseline:
    """The baseline in the file at *path*. Raises BadFileError: not there, of another version, edited by hand."""
    try:
        plain = json.loads(path.read_bytes())
        version = plain.get("version") if isinstance(plain, dict) else None
    except FileNotFoundError:
        raise BadFileError("there is no such baseline", location=str(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFileError(f"not a baseline: {error}", location=str(path), hint=_HINT) from None
    if version != VERSION:
        raise BadFileError(f"a baseline of version {version!r}; this is version {VERSION}", location=str(path), hint=_HINT)
    baseline = codec.from_json(Baseline, plain, location=str(path))
    if baseline.sealed().digest != baseline.digest:
        raise BadFileError("the baseline was edited by hand: its digest differs", location=str(path), hint=_HINT)
    expected = place(path.parent.parent.parent, baseline.fingerprint, baseline.gate)
    if (path.parent.name, path.name) != (expected.parent.name, expected.name):
        raise BadFileError("the baseline lies under another machine's or gate's name", location=str(path), hint=_HINT)
    return baseline


_HINT = "restore it from git (`git checkout -- baselines`), or remove it and accept a run again"


def every(root: Path) -> Iterator[tuple[Path, Baseline]]:
    """Every baseline of the repository at *root*. Raises BadFileError at the first that can't be used."""
    for path in sorted((root / FOLDER).glob("*/*.json")):
        yield path, read(path)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is nothing to compare with, in one sentence."""

    reason: str


def find(root: Path, fingerprint: Mapping[str, str], gate: str) -> Baseline | Missing:
    """The baseline of *gate* for exactly this *fingerprint*; another machine's is never taken in its place."""
    own = place(root, fingerprint, gate)
    if own.exists():
        return read(own)
    others = [baseline for path, baseline in every(root) if path.name == own.name]
    if not others:
        return Missing(f"no baseline of {gate} is stored")
    closest = min((_differences(baseline.fingerprint, fingerprint) for baseline in others), key=len)
    return Missing(f"the stored baselines of {gate} are of other machines; the closest differs in {', '.join(closest)}")


def _differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)] or ["nothing but its name"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where the next value is expected.

    Attributes:
        middle: the median of the latest runs.
        reach: how far above the middle a value may lie by chance: the wider of the t prediction bound and 4 deviations.
        deviation: the standard deviation of the latest runs.
        runs: on how many it rests.
    """

    middle: float
    reach: float
    deviation: float
    runs: int

    def is_wide_for(self, margin: float) -> bool:
        """Whether a slowdown of *margin* is less than 4 deviations, so that nothing can be decided."""
        return margin * self.middle < DEVIATIONS * self.deviation

    def excess(self, value: float) -> tuple[float, float, float]:
        """How much *value* lies above the middle, as a ratio of it, from the least to the most that chance allows."""
        share = value / self.middle - 1
        reach = self.reach / self.middle
        return share, share - reach, share + reach


def predicted(values: Sequence[float]) -> Prediction | Missing:
    """Where the value after *values* is expected, from at least `FEWEST_RUNS` positive ones."""
    if len(values) < FEWEST_RUNS:
        return Missing(f"{len(values)} runs are stored and {FEWEST_RUNS} are needed")
    if min(values) <= 0:
        return Missing("a value that is not positive is stored")
    from scipy.stats import t

    latest = values[-LATEST:]
    middle, deviation, count = median(latest), stdev(latest), len(values)
    quantile = float(t.ppf(LEVEL, count - 1))
    bound = fmean(values) + quantile * stdev(values) * math.sqrt(1 + 1 / count)
    return Prediction(middle, max(bound - middle, DEVIATIONS * deviation), deviation, count)


@dataclass(frozen=True, slots=True)
class Change:
    """What accepting a run does to one number: *before* is the median of the latest runs, None for a new number."""

    key: str
    before: float | None
    after: float
    earlier: tuple[float, ...] = field(default=())


def changes(baseline: Baseline | None, values: Mapping[str, float]) -> tuple[Change, ...]:
    """What *values* would change in *baseline*, sorted by key."""
    found = []
    for key, value in sorted(values.items()):
        earlier = baseline.values(key)[-LATEST:] if baseline else ()
        found.append(Change(key, median(earlier) if earlier else None, value, earlier))
    return tuple(found)
