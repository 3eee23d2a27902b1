"""Offering a load in the way that suits it: rows for a run that they fit, counts for a longer one, workers for a larger one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gates.load.outcome import SecondReport
from gates.load.plan import LoadPlan
from gates.load.scale import Scale
from gates.load.selection import Outcome

if TYPE_CHECKING:
    from gates.load.breach import Guard
    from gates.load.schedule import Schedule

# Some 60 MB of rows.
MOST_ROWS = 1_000_000


def offer(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    *,
    seed: int,
    scale: Scale | None = None,
    on_start: Callable[[float], None] | None = None,
    on_second: Callable[[SecondReport], None] | None = None,
    stop: threading.Event | None = None,
    abandon: threading.Event | None = None,
    headers: Mapping[str, str] | None = None,
    guarded: Callable[[Schedule], Guard] | None = None,
    drag: float = 0.0,
) -> Outcome:
    """As `engine.run_load`, over the workers of *scale* when it is given; no worker sees enough to guard it then.

    Raises ScaleError when a worker is lost.
    """
    if scale is not None:
        from gates.load.scaled import run_scaled

        return run_scaled(
            plan,
            endpoints,
            scale,
            seed=seed,
            on_start=on_start,
            on_second=on_second,
            stop=stop,
            abandon=abandon,
            headers=headers,
        )
    from gates.load.engine import run_load, tally_load

    runner: Callable[..., Outcome] = run_load if plan.arrivals <= MOST_ROWS else tally_load
    return runner(
        plan,
        endpoints,
        seed=seed,
        on_start=on_start,
        on_second=on_second,
        stop=stop,
        abandon=abandon,
        headers=headers,
        guarded=guarded,
        drag=drag,
    )
