"""Where the slices of a load run, as a person writes it: `local:4` or `dask://HOST:PORT`. Base dependencies only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gates.errors import Exit, GatesError

MOST_LOCAL = 64
_LOCAL = re.compile(r"local:(\d+)")
_DASK = re.compile(r"dask://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):(\d+)")


class ScaleError(GatesError):
    """A load that could not be carried by all of its workers: what is left of it is no measurement."""

    code = Exit.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Scale:
    """*workers* processes of this machine, or those of the cluster whose scheduler is at *address*."""

    workers: int = 0
    address: str = ""


def scale_of(text: str) -> Scale:
    """What *text* says. Raises ValueError with what was expected."""
    if (local := _LOCAL.fullmatch(text)) and 1 <= int(local[1]) <= MOST_LOCAL:
        return Scale(workers=int(local[1]))
    if (dask := _DASK.fullmatch(text)) and 0 < int(dask[2]) < 65_536:
        return Scale(address=f"tcp://{dask[1]}:{dask[2]}")
    raise ValueError(f"expected local:N with N from 1 to {MOST_LOCAL}, or dask://HOST:PORT")
