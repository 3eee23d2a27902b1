"""Noise of machines that run benchmarks, for simulations: what each of many timings is multiplied by, as a logarithm.

The seven models are those under which rules for regressions were compared before this one was designed. A timing belongs to a
job (one machine for a while), a process of one side in it, and a moment. Needs numpy.

Their sizes are such that three paired rules have the powers under them that were published for the same models with the
survey that this design rests on (`docs/regression.md` names it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
ROUNDS = 8
_HEAVY_SHARE, _HEAVY_TIMES = 0.1, 3.0


@dataclass(frozen=True, slots=True)
class Noise:
    """What disturbs a timing; every value but shares and persistences is a standard deviation of the logarithm.

    Attributes:
        core: of each timing by itself; a tenth of them three times as much.
        spike: the share of timings that something interrupts, and *spike_size* by how much on average.
        drift: of the machine's pace, which changes slowly: *persistence* is its correlation from one timing to the next.
        slow: the share of the time that the machine is slower by *slow_by*; it stays so for *slow_for* timings on average.
        process: of each process by itself: memory layout, hash seed; *stray* is the share of processes that are unlucky and
            slower by *stray_by* on average.
        job: of each job by itself: another machine, other neighbours.
    """

    name: str
    core: float = 0.01
    spike: float = 0.0
    spike_size: float = 0.4
    drift: float = 0.0
    persistence: float = 0.97
    slow: float = 0.0
    slow_by: float = 0.15
    slow_for: float = 30.0
    process: float = 0.0
    stray: float = 0.0
    stray_by: float = 0.08
    job: float = 0.0


MODELS: Mapping[str, Noise] = {
    "N1": Noise("heavy tails", core=0.02, spike=0.02),
    "N2": Noise("drift", drift=0.03),
    "N3": Noise("two speeds", slow=0.3),
    "N4": Noise("process effect 2 %", process=0.02),
    "N5": Noise("job shift 5 %", process=0.012, job=0.05),
    "N6": Noise("job shift 10 %", process=0.012, job=0.10),
    "N7": Noise("everything", core=0.02, spike=0.02, drift=0.03, slow=0.3, process=0.012, stray=0.02, job=0.07),
}


def pairs(noise: Noise, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Estimates log(candidate / base) without a change: one a pair, each the median over the rounds of new processes.

    Both sides share the job, so its shift is in both; each has a process effect of its own for all rounds of the pair.
    Rounds are measured as `pairs.Session` does: one side right after the other, the order turned from one to the next.
    """
    times = timings(noise, (*shape, ROUNDS, 2), generator)
    turned = np.where(generator.random((*shape, ROUNDS // 2)) < 0.5, np.float32(1), np.float32(-1))
    rounds = times[..., 1] - times[..., 0]
    rounds[..., 0::2] *= turned
    rounds[..., 1::2] *= -turned
    estimates = np.median(rounds, axis=-1)
    base, candidate = effects(noise, shape, generator), effects(noise, shape, generator)
    return estimates + candidate - base


def processes(noise: Noise, shape: tuple[int, int, int, int], generator: np.random.Generator) -> Array:
    """Timings in seconds, around 1 s without a change, of one side: by job, benchmark, process and timing.

    All benchmarks of a job share its shift; each has processes of its own, one after another.
    """
    jobs, _, _, _ = shape
    logs = timings(noise, shape, generator)
    logs += effects(noise, shape[:-1], generator)[..., None]
    logs += noise.job * generator.standard_normal((jobs, 1, 1, 1), dtype=np.float32)
    return np.exp(logs)


def effects(noise: Noise, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """What each of many processes is slower by for as long as it lives."""
    logs = noise.process * generator.standard_normal(shape, dtype=np.float32)
    if noise.stray:
        unlucky = generator.random(shape, dtype=np.float32) < noise.stray
        logs += np.where(unlucky, np.log1p(noise.stray_by * generator.standard_exponential(shape, dtype=np.float32)), 0)
    return logs


def timings(noise: Noise, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """What the moment does to timings: core, spikes, drift and two speeds; neighbours in C order are neighbours in time.

    The last two axes follow each other in time; before that, everything starts anew.
    """
    long = shape[-2] * shape[-1]
    rows = int(np.prod(shape[:-2], dtype=int))
    logs = noise.core * generator.standard_normal((rows, long), dtype=np.float32)
    heavy = generator.random((rows, long), dtype=np.float32) < _HEAVY_SHARE
    logs[heavy] *= _HEAVY_TIMES
    if noise.spike:
        hit = generator.random((rows, long), dtype=np.float32) < noise.spike
        sizes = generator.standard_exponential(int(hit.sum()), dtype=np.float32)
        logs[hit] += np.log1p(noise.spike_size * sizes)
    if noise.drift:
        logs += noise.drift * _walk(noise.persistence, rows, long, generator)
    if noise.slow:
        logs += np.log1p(noise.slow_by, dtype=np.float32) * _two_speeds(noise, rows, long, generator)
    return logs.reshape(shape)


def _walk(persistence: float, rows: int, long: int, generator: np.random.Generator) -> Array:
    """An autoregressive walk of standard deviation 1, a row each."""
    steps = generator.standard_normal((long, rows), dtype=np.float32)
    steps[1:] *= np.sqrt(1 - persistence**2)
    for index in range(1, long):
        steps[index] += persistence * steps[index - 1]
    return steps.T


def _two_speeds(noise: Noise, rows: int, long: int, generator: np.random.Generator) -> Array:
    """1 while the machine is slow and else 0, a row each."""
    leave = 1 / noise.slow_for
    enter = leave * noise.slow / (1 - noise.slow)
    draws = generator.random((long, rows), dtype=np.float32)
    states = np.empty((long, rows), dtype=bool)
    states[0] = draws[0] < noise.slow
    for index in range(1, long):
        states[index] = np.where(states[index - 1], draws[index] >= leave, draws[index] < enter)
    return states.T.astype(np.float32)
