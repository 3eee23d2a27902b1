"""Who was too slow when a load was not offered as planned, by name, and how to cure it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gates.load import validity
from gates.load.failure import Failure
from gates.load.outcome import Health
from gates.load.selection import Outcome
from gates.model import Criterion, Finding, Level, Unit
from gates.quantity import show

MOSTLY = 0.7
"""Of one core, beyond which a late generator was late because of its own work."""
LIGHTER = "offer a lower rate, check less of every answer, share the load among workers (--scale), or use a faster machine"
OF_ITS_OWN = "give the generator a core of its own, end what else runs here, or start the target on another machine"
QUIETER = "measure on a machine that is not shared, or at another time"
MORE_CONNECTIONS = "give the scenario more `connections`, or look at why the target holds on to them"


def bottlenecks(outcome: Outcome, criteria: Iterable[Criterion]) -> Iterator[Finding]:
    """What kept the load of *outcome* from being offered as planned, in a gate with *criteria*; nothing when it was."""
    whole, health = outcome.select(), outcome.health
    if not whole.count:
        return
    late, limit = whole.lateness.quantile(0.99), _most_lateness(criteria)
    spins = "spin" in health.pacing
    unsent = whole.failures.get(Failure.UNSENT, 0)
    too_few = unsent > validity.MOST_UNSENT * whole.count
    if late > limit or _is_full(health, spins, starved=too_few):
        at = f"it took arrivals up {show(late, Unit.SECONDS)} late at p99, and {show(limit, Unit.SECONDS)} is the limit"
        yield Finding(
            Level.WARNING, f"the generator was the bottleneck: {_why(health, spins)}; {at}", hint=_cure(health, spins)
        )
    elif too_few:
        text = f"the connections were the bottleneck: {unsent:,} arrivals of {outcome.planned:,} found none that was free"
        yield Finding(Level.WARNING, text, hint=MORE_CONNECTIONS)


def _is_full(health: Health, spins: bool, *, starved: bool) -> bool:
    """Whether the generator had no time left. One that was *starved* of a processor read answers late, and so held on to the
    connections that others found none of, though it took arrivals up on time.
    """
    waited = health.held or 0.0 if starved else 0.0
    return health.cpu + waited > validity.MOST_CPU and not spins


def _most_lateness(criteria: Iterable[Criterion]) -> float:
    """What the gate's own criterion allows, else what one without a latency limit would."""
    own = [each for criterion in criteria if criterion.metric == validity.LATENESS for each in criterion.comparisons]
    return own[0].limit if own else validity.LATENESS_WITHOUT_LIMIT


def _why(health: Health, spins: bool) -> str:
    used = f"its thread used {health.cpu:.0%} of a core"
    if health.steal is not None and health.steal > validity.MOST_STEAL:
        return f"the hypervisor took {show(health.steal, Unit.RATIO)} of the machine's time"
    if health.cpu > MOSTLY and not spins:
        return f"{used}, as much as there is"
    return used if health.held is None else f"{used} and waited for one for {health.held:.0%} of the time"


def _cure(health: Health, spins: bool) -> str:
    if health.steal is not None and health.steal > validity.MOST_STEAL:
        return QUIETER
    return LIGHTER if health.cpu > MOSTLY and not spins else OF_ITS_OWN
