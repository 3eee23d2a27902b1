"""Invariants made of declarations: a target's plug-in says which flows write and read what, and registers the instance.

::

    # shop/invariants.py, registered under the entry-point group `gates.invariants`
    ORDERS = Items("/orders", items="orders", key="key", state="state", final=("paid", "cancelled"))
    nothing_lost = NothingLost("no-order-lost", "orders.lost", ORDERS, flows=("order",))
    prices = Linearizable("prices-linearizable", "prices.broken", Declared(key=("value.item",), ...))

What the target says (`observe`) is asked of every endpoint; those that only look at the history ask nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.history.access import Declared, accesses, at
from gates.history.effects import disagreeing, effects, lost, unfinished
from gates.history.linear import linearity
from gates.history.staleness import staleness
from gates.model import Fetch, Finding, InvariantOutcome, Level, Measurement, MetricSpec, Operation, Rule, Table, Unit

FEWEST = 200
MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Items:
    """Where a target tells what it holds.

    Attributes:
        path: what is asked of every endpoint, a JSON document.
        items: dotted path to the list in it; empty for the document itself.
        more: where the documents come page by page, the member that says after what the next one begins, or null; it is asked
            for as `?after=`.
        key: field of an item that holds the key under which a client asked for it.
        state: field that says how far it is.
        final: states in which it stays.
    """

    path: str
    items: str = ""
    more: str = ""
    key: str = "key"
    state: str = "state"
    final: tuple[str, ...] = ()

    def all_of(self, fetch: Fetch, endpoint: str) -> list[Mapping[str, Any]]:
        """The items that *endpoint* holds, of all pages. Raises OSError and LookupError."""
        found: list[Mapping[str, Any]] = []
        page: Any = fetch(endpoint, self.path)
        while True:
            found += self.of(page)
            if not self.more or page[self.more] is None:
                return found
            page = fetch(endpoint, f"{self.path}?after={page[self.more]}")

    def of(self, document: Any) -> list[Mapping[str, Any]]:
        """The items of one answer. Raises LookupError where the list is not there."""
        for step in self.items.split(".") if self.items else ():
            document = document[step]
        return list(document)


class _Invariant:
    """What all have in common; *at_least*: with fewer samples nothing is proven."""

    def __init__(self, name: str, metric: str, summary: str, at_least: int) -> None:
        self.name, self.summary, self.metric = name, summary, metric
        self.metrics = (MetricSpec(metric, Unit.COUNT, Rule.CENSUS, summary, at_least=at_least),)

    @property
    def question(self) -> Hashable:
        """What is asked of the target; invariants with the same question share one answer."""
        return None

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """Nothing: the history alone tells."""
        return None

    def _outcome(
        self, count: int, n: int, rows: Iterable[tuple[str, int]], named: Mapping[str, Sequence[Any]]
    ) -> InvariantOutcome:
        table = Table(self.summary.rstrip("."), ("what", "count"), tuple((what, f"{number:,}") for what, number in rows))
        findings = [Finding(Level.WARNING, _named(text, each)) for text, each in named.items() if each]
        return InvariantOutcome((Measurement(self.metric, count, Unit.COUNT, n),), (table,), tuple(findings))


class _OverItems(_Invariant):
    """An invariant over what the target holds."""

    def __init__(self, name: str, metric: str, summary: str, at_least: int, items: Items) -> None:
        super().__init__(name, metric, summary, at_least)
        self.items = items

    @property
    def question(self) -> Hashable:
        """Items of one place."""
        return self.items

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """Key and state of every item, by endpoint, in order of the keys."""
        return {
            name: sorted(
                [str(item[self.items.key]), str(item.get(self.items.state, ""))] for item in self.items.all_of(fetch, name)
            )
            for name in endpoints
        }


class NothingLost(_OverItems):
    """All that an operation of *flows* was acknowledged for is held by some endpoint: *promised* says where its name stands."""

    def __init__(
        self,
        name: str,
        metric: str,
        items: Items,
        *,
        flows: Sequence[str],
        promised: str = "key",
        at_least: int = FEWEST,
    ) -> None:
        super().__init__(name, metric, "Acknowledged items that the target does not hold.", at_least, items)
        self.flows, self.promised = frozenset(flows), promised

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        promised = (str(at(each, self.promised)) for each in history if each.kind in self.flows and each.status == "ok")
        found = lost(promised, {key for items in after.values() for key, _ in items})
        rows = (("acknowledged", found.acknowledged), ("lost", len(found.lost)))
        return self._outcome(len(found.lost), found.acknowledged, rows, {"acknowledged and gone": found.lost})


class OneEffect(_OverItems):
    """No key that a client sent has more than one item over all endpoints, and nothing is there that nobody asked for."""

    def __init__(
        self,
        name: str,
        metric: str,
        items: Items,
        *,
        flows: Sequence[str],
        shared: str = "",
        at_least: int = FEWEST,
    ) -> None:
        super().__init__(name, metric, "Keys with more than one effect, and effects that nobody asked for.", at_least, items)
        self.flows, self.shared = frozenset(flows), shared

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        asked = [each for each in history if each.kind in self.flows]
        # operations of other flows have a key that they share, under which there is one effect, too
        others = {str(at(each, self.shared)) for each in history} if self.shared else set()
        known = [key for items in before.values() for key, _ in items]
        found = effects(asked, (key for items in after.values() for key, _ in items), known)
        unasked = [key for key in found.unasked if key not in others]
        sent = {each.key for each in asked}  # those of unasked ones were refused, which promises that nothing is done
        refused, strange = [key for key in unasked if key in sent], [key for key in unasked if key not in sent]
        rows = (("keys sent", found.sent), ("more than once", len(found.duplicated)), ("unasked", len(unasked)))
        named = {
            "more than one effect": found.duplicated,
            "refused, and done all the same": refused,
            "nobody asked for": strange,
        }
        return self._outcome(len(found.duplicated) + len(unasked), found.sent, rows, named)


class EveryItemEnds(_OverItems):
    """Every item of every endpoint has come to a final state."""

    def __init__(self, name: str, metric: str, items: Items, *, at_least: int = FEWEST) -> None:
        super().__init__(name, metric, "Items that have come to no end.", at_least, items)

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        states: dict[Hashable, str] = {(name, key): state for name, items in after.items() for key, state in items}
        open_ones = unfinished(states, self.items.final)
        rows = (("items", len(states)), ("without an end", len(open_ones)))
        return self._outcome(len(open_ones), len(states), rows, {"without an end": open_ones})


class Converged(_OverItems):
    """All endpoints hold the same items in the same states once nothing moves any more, or `within` seconds later."""

    def __init__(self, name: str, metric: str, items: Items, *, within: float = 10.0, at_least: int = FEWEST) -> None:
        super().__init__(name, metric, "Items that some replica lacks or has in another state.", at_least, items)
        self.within = within

    def at_rest(self, fetch: Fetch, endpoints: Sequence[str]) -> tuple[Any, bool]:
        """What all hold, and whether they agree."""
        says = self.observe(fetch, endpoints)
        return says, not disagreeing({name: str(items) for name, items in says.items()})

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        replicas = {name: {tuple(item) for item in items} for name, items in after.items()}
        everything = set().union(*replicas.values())
        apart = {item for item in everything if not all(item in items for items in replicas.values())}
        rows = (*((name, len(items)) for name, items in replicas.items()), ("apart", len(apart)))
        return self._outcome(len(apart), len(everything), rows, {"not the same everywhere": sorted(key for key, _ in apart)})


class Linearizable(_Invariant):
    """The accesses that *declared* finds are linearizable, key by key. An undecided key counts as none that was checked."""

    def __init__(self, name: str, metric: str, declared: Declared, *, initial: Hashable = None, at_least: int = FEWEST) -> None:
        super().__init__(name, metric, "Keys whose reads and writes fit into no order.", at_least)
        self.declared, self.initial = declared, initial

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Search for an order; pure."""
        keys = accesses(history, self.declared)
        found = linearity(keys, self.initial)
        checked = found.checked - sum(len(keys[key]) for key in found.undecided)
        rows = (
            ("keys", len(keys)),
            ("accesses", found.checked),
            ("broken", len(found.broken)),
            ("undecided", len(found.undecided)),
        )
        broken = [
            f"{'/'.join(map(str, key))} ({each.action} {each.value!r} at {each.invoked:.3f} s)"
            for key, each in found.broken.items()
        ]
        named = {"fits into no order": broken, "too much at once to decide": found.undecided}
        return self._outcome(len(found.broken), 0 if found.undecided else checked, rows, named)


class NotStale(_Invariant):
    """No read returns what was overwritten for longer than the read says, and none is more than *oldest* seconds old."""

    def __init__(
        self,
        name: str,
        metric: str,
        declared: Declared,
        *,
        initial: Hashable = None,
        oldest: float = math.inf,
        at_least: int = FEWEST,
    ) -> None:
        super().__init__(name, metric, "Reads older than they say, or than is allowed.", at_least)
        self.declared, self.initial, self.oldest = declared, initial, oldest

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Look at every read; pure."""
        found = staleness(accesses(history, self.declared), self.initial, oldest=self.oldest)
        groups = {"undeclared": found.undeclared, "never written": found.phantoms, "too old": found.too_old}
        rows = (
            ("reads", found.checked),
            ("with an age", found.declared),
            *((text, len(each)) for text, each in groups.items()),
        )
        named = {
            text: [f"{key} = {read.value!r} at {read.invoked:.3f} s" for key, read in each] for text, each in groups.items()
        }
        return self._outcome(found.wrong, found.checked, rows, named)


def _named(text: str, offenders: Sequence[Any]) -> str:
    shown = ", ".join("/".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in offenders[:MOST_NAMED])
    more = f" and {len(offenders) - MOST_NAMED} more" if len(offenders) > MOST_NAMED else ""
    return f"{text}: {shown}{more}"


__all__ = ["Converged", "Declared", "EveryItemEnds", "Items", "Linearizable", "NotStale", "NothingLost", "OneEffect"]
