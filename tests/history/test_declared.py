"""Invariants made of declarations: each holds for a good target and history, and is red for a bad one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gates.history.declared import (
    Converged,
    Declared,
    EveryItemEnds,
    Items,
    Linearizable,
    NothingLost,
    NotStale,
    OneEffect,
)
from gates.kinds.invariants import observe
from gates.model import Operation

ORDERS = Items("/orders", items="page.orders", key="key", state="state", final=("paid",))
SHOPS = ("shop-a", "shop-b")
PRICES = Declared(("value.item",), writes={"set": "value.to"}, reads={"get": "answer.is"}, age="answer.age")


def order(key: str, status: str = "ok", kind: str = "order") -> Operation:
    """A client ordered under *key*."""
    return Operation(0, kind, "shop-a", key, status, 0.0, 1.0)


def fetching(held: Mapping[str, Sequence[tuple[str, str]]]) -> Any:
    """A target in which every shop holds these keys in these states."""

    def fetch(name: str, path: str) -> Any:
        assert path == "/orders"
        return {"page": {"orders": [{"key": key, "state": state} for key, state in held[name]]}}

    return fetch


def value(invariant: Any, history: Sequence[Operation], before: Any = None, after: Any = None) -> tuple[float, int]:
    """What *invariant* measured, and over how many; the measurement is the one that it declares."""
    (measured,) = invariant.check(history, before, after).measurements
    assert [measured.metric] == [metric.name for metric in invariant.metrics]
    return measured.value, measured.n


def seen(invariant: Any, **held: Sequence[tuple[str, str]]) -> Any:
    """What the invariant observes of shops a and b."""
    return invariant.observe(fetching({f"shop-{name}": items for name, items in held.items()}), SHOPS)


def test_an_acknowledged_order_that_no_shop_holds_is_lost() -> None:
    """One that the other shop holds is not; an unanswered one is no promise."""
    invariant = NothingLost("no-order-lost", "orders.lost", ORDERS, flows=["order"])
    after = seen(invariant, a=[("1", "paid")], b=[("2", "new")])
    assert value(invariant, [order("1"), order("2"), order("3", "unknown"), order("9", kind="look")], {}, after) == (0, 2)
    assert value(invariant, [order("1"), order("3")], {}, after) == (1, 2)


def test_a_key_with_two_orders_is_one_too_many() -> None:
    """And so is an order that nobody asked for; what was there before is neither."""
    invariant = OneEffect("one-order-a-key", "orders.twice", ORDERS, flows=["order"])
    before, good = seen(invariant, a=[("old", "new")], b=[]), seen(invariant, a=[("old", "new"), ("1", "new")], b=[])
    assert value(invariant, [order("1"), order("1", "unknown")], before, good) == (0, 1)
    assert value(invariant, [order("1")], before, seen(invariant, a=[("1", "new")], b=[("1", "new")])) == (1, 1)
    assert value(invariant, [order("1")], before, seen(invariant, a=[("1", "new"), ("2", "new")], b=[])) == (1, 1)


def test_a_second_order_under_an_old_key_is_one_too_many() -> None:
    """It was there before, once."""
    invariant = OneEffect("one-order-a-key", "orders.twice", ORDERS, flows=["order"])
    before = seen(invariant, a=[("old", "new")], b=[])
    assert value(invariant, [order("1")], before, seen(invariant, a=[("old", "new")], b=[("old", "new")])) == (1, 1)


def test_an_order_in_no_final_state_has_no_end() -> None:
    """Whichever shop holds it."""
    invariant = EveryItemEnds("every-order-ends", "orders.open", ORDERS)
    assert value(invariant, [], None, seen(invariant, a=[("1", "paid")], b=[("2", "paid")])) == (0, 2)
    assert value(invariant, [], None, seen(invariant, a=[("1", "paid")], b=[("2", "new")])) == (1, 2)


def test_shops_that_hold_different_orders_have_not_converged() -> None:
    """Neither when one lacks an order, nor when it has it in another state; it is not at rest until they agree."""
    invariant = Converged("orders-converge", "orders.apart", ORDERS)
    assert value(invariant, [], None, seen(invariant, a=[("1", "paid")], b=[("1", "paid")])) == (0, 1)
    assert value(invariant, [], None, seen(invariant, a=[("1", "paid")], b=[])) == (1, 1)
    assert value(invariant, [], None, seen(invariant, a=[("1", "paid")], b=[("1", "new")])) == (2, 2)
    alike, apart = (
        fetching({"shop-a": [("1", "paid")], "shop-b": [("1", "paid")]}),
        fetching({"shop-a": [], "shop-b": [("1", "x")]}),
    )
    assert invariant.at_rest(alike, SHOPS)[1]
    assert not invariant.at_rest(apart, SHOPS)[1]


def price(kind: str, when: float, answer: Any = None, **value: Any) -> Operation:
    """A client set or got the price of an item."""
    return Operation(0, kind, "shop-a", "k", "ok", when, when + 0.5, 200, {"item": "apple", **value}, answer)


SET_TWICE = [price("set", 0, to=1), price("set", 2, to=2)]


def test_a_price_that_was_overwritten_is_not_linearizable() -> None:
    """The item and the read are named."""
    invariant = Linearizable("prices-linearizable", "prices.broken", PRICES)
    assert value(invariant, [*SET_TWICE, price("get", 4, {"is": 2})]) == (0, 3)
    bad = [*SET_TWICE, price("get", 4, {"is": 1})]
    assert value(invariant, bad) == (1, 3)
    assert "apple" in invariant.check(bad, None, None).findings[0].message


@pytest.mark.end_to_end
def test_a_search_that_was_given_up_is_no_pass() -> None:
    """Too many concurrent writes: nothing was checked, so a criterion over it is inconclusive."""
    crowd = [Operation(0, "set", "shop-a", "k", "ok", 0.0, 9.0, 200, {"item": "apple", "to": n}) for n in range(22)]
    invariant = Linearizable("prices-linearizable", "prices.broken", PRICES)
    quiet = replace(price("get", 11), value={"item": "pear"})
    assert value(invariant, [*crowd, price("get", 10, {"is": 99}), quiet])[1] == 0


def test_an_old_price_must_tell_its_age() -> None:
    """It may then be as old as is allowed."""
    invariant = NotStale("prices-fresh", "prices.stale", PRICES, oldest=3.0)
    assert value(invariant, [*SET_TWICE, price("get", 4, {"is": 1, "age": "2.0"})]) == (0, 1)
    assert value(invariant, [*SET_TWICE, price("get", 4, {"is": 1})]) == (1, 1)
    assert value(invariant, [*SET_TWICE, price("get", 9, {"is": 1, "age": "8.0"})]) == (1, 1)


def test_a_list_that_is_not_where_it_was_declared_is_an_error() -> None:
    """The trial says that the target did not answer what the invariant asks."""
    with pytest.raises(LookupError):
        Items("/orders", items="orders").of({"page": []})


def test_items_that_come_page_by_page_are_all_read() -> None:
    """Until the page says that there is none behind it."""
    pages = {"/orders": ("1", 7), "/orders?after=7": ("2", None)}

    def fetch(name: str, path: str) -> Any:
        key, after = pages[path]
        return {"orders": [{"key": key}], "next": after}

    items = Items("/orders", items="orders", more="next")
    assert [item["key"] for item in items.all_of(fetch, "shop-a")] == ["1", "2"]


def test_invariants_over_different_items_do_not_share_an_answer() -> None:
    """They are of the same class, but ask for something else; two over the same items share one."""
    invoices = Items("/invoices", key="key")
    asked: list[str] = []

    def fetch(name: str, path: str) -> Any:
        asked.append(path)
        return [{"key": path}]

    orders = Items("/orders", key="key")
    both = [EveryItemEnds("orders-end", "orders.open", orders), EveryItemEnds("invoices-end", "invoices.open", invoices)]
    third = NothingLost("orders-kept", "orders.lost", orders, flows=["order"])
    found = observe([*both, third], fetch, ["shop-a"])
    assert found["orders-end"] != found["invoices-end"]
    assert sorted(asked) == ["/invoices", "/orders"]


def test_what_was_promised_may_stand_in_the_answer() -> None:
    """As the name that the target gave it."""
    invariant = NothingLost("no-order-lost", "orders.lost", ORDERS, flows=["order"], promised="answer.number")
    history = [Operation(0, "order", "shop-a", "k", "ok", 0.0, 1.0, 200, None, {"number": "n1"})]
    assert value(invariant, history, {}, seen(invariant, a=[("n1", "paid")], b=[])) == (0, 1)
    assert value(invariant, history, {}, seen(invariant, a=[("k", "paid")], b=[])) == (1, 1)


def test_what_was_refused_and_done_all_the_same_is_told_apart() -> None:
    """Who answers 503 after giving up on another says that nothing was done; the finding must lead there."""
    invariant = OneEffect("one-order-a-key", "orders.twice", ORDERS, flows=["order"])
    refused = Operation(0, "order", "shop-a", "2", "fail", 0.0, 1.0, 503)
    after = seen(invariant, a=[("1", "new"), ("2", "new")], b=[("3", "new")])
    outcome = invariant.check([order("1"), refused], seen(invariant, a=[], b=[]), after)
    assert outcome.measurements[0].value == 2
    assert [each.message for each in outcome.findings] == ["refused, and done all the same: 2", "nobody asked for: 3"]


def test_keys_that_operations_share_have_one_effect_too() -> None:
    """They were asked for, so one is right; two are one too many."""
    invariant = OneEffect("one-order-a-key", "orders.twice", ORDERS, flows=["order"], shared="value.key")
    asked = [order("1"), Operation(0, "again", "shop-a", "x", "ok", 0.0, 1.0, 200, {"key": "s"})]
    before = seen(invariant, a=[], b=[])
    assert value(invariant, asked, before, seen(invariant, a=[("1", "new"), ("s", "new")], b=[])) == (0, 1)
    assert value(invariant, asked, before, seen(invariant, a=[("1", "new"), ("s", "new")], b=[("s", "new")])) == (1, 1)
