"""Linearizable reads and writes of a key: good and bad histories by hand, and every small history against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.history.access import NEVER, Access, Action, Declared, accesses
from gates.history.linear import TooMany, first_misfit, linearity
from gates.model import Operation


def write(value: object, invoked: float, completed: float = NEVER) -> Access:
    """A write, of unknown outcome unless it says when it was answered."""
    return Access(Action.WRITE, value, invoked, completed)


def read(value: object, invoked: float, completed: float) -> Access:
    """A read that was answered with *value*."""
    return Access(Action.READ, value, invoked, completed)


def claim(value: object, invoked: float, completed: float = NEVER) -> Access:
    """A claim that was answered with *value*, or not at all."""
    return Access(Action.CLAIM, value, invoked, completed)


GOOD = {
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "a read beside a write sees either": [write(1, 0, 1), write(2, 2, 9), read(1, 3, 4), read(2, 5, 6)],
    "two writes at once end in either order": [write(1, 0, 5), write(2, 0, 5), read(1, 6, 7)],
    "nothing was there at first": [read(None, 0, 1), write(1, 2, 3)],
    "an unknown write took effect later": [write(1, 0, 1), write(2, 2), read(1, 3, 4), read(2, 9, 10), read(2, 11, 12)],
    "an unknown write never took effect": [write(1, 0, 1), write(2, 2), read(1, 3, 4), read(1, 9, 10)],
    "answered in the moment of the next": [write(1, 0, 1), read(None, 1, 2)],
    "the same value twice": [write(1, 0, 1), write(2, 2, 3), write(1, 4, 9), read(2, 5, 6), read(1, 7, 8)],
    "what is there is written once more, later": [
        write(1, 0, 1),
        write(1, 2, 20),
        write(2, 3, 4),
        read(2, 5, 6),
        read(1, 7, 8),
    ],
    "every claim was told the first": [claim("a", 0, 1), claim("a", 2, 3), claim("a", 2.5, 3.5)],
    "an unknown write is what a claim was told": [write(1, 0, 1), write(2, 2), claim(2, 5, 6)],
    "an unanswered claim left what was seen": [claim(None, 0), read("a", 5, 6), claim("a", 7, 8)],
}
BAD = {
    "a read of what was overwritten": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "a read of what nobody wrote": [write(1, 0, 1), read(3, 2, 3)],
    "back to the old value": [write(1, 0, 1), write(2, 2, 9), read(2, 3, 4), read(1, 5, 6)],
    "an unknown write is undone": [write(1, 0, 1), write(2, 2), read(2, 3, 4), read(1, 5, 6)],
    "read before it was asked for": [read(1, 0, 1), write(1, 2, 3)],
    "lost write": [write(1, 0, 1), read(None, 2, 3)],
    "two readers see two orders": [
        *(write(1, 0, 9), write(2, 0, 9)),
        *(read(1, 1, 2), read(2, 3, 4), read(1, 5, 6), read(2, 7, 8)),
    ],
    "two claims were told different things": [claim("a", 0, 1), claim("b", 2, 3)],
    "concurrent claims were told different things": [claim("a", 0, 5), claim("b", 1, 4)],
    "an unanswered claim is no excuse": [claim(None, 0), read("a", 5, 6), claim("b", 7, 8)],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_linearizable_history_is_told_so(history: list[Access]) -> None:
    """There is an order, and the search finds it; brute force agrees."""
    assert first_misfit(history) is None
    assert has_an_order(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_history_without_an_order_is_told_so(history: list[Access]) -> None:
    """There is no order, and brute force agrees."""
    assert first_misfit(history) is not None
    assert not has_an_order(history)


def has_an_order(history: Sequence[Access]) -> bool:
    """Brute force: some choice of the uncertain ones, in some order that respects time, explains every answer."""
    certain = [each for each in history if each.certain]
    uncertain = [each for each in history if not each.certain]
    return any(
        respects_time(order) and explains(order)
        for count in range(len(uncertain) + 1)
        for chosen in combinations(uncertain, count)
        for order in permutations([*certain, *chosen])
    )


def respects_time(order: Sequence[Access]) -> bool:
    """Nothing stands before what was answered before it was invoked."""
    return not any(later.completed < earlier.invoked for earlier, later in combinations(order, 2))


def explains(order: Sequence[Access]) -> bool:
    """Every answer is what a store would have said that does one after the other; an unseen claim may have been of anything."""
    values = {each.value for each in order if each.value is not None}
    guesses = [None, *sorted(values, key=repr), "what nobody saw"]
    return any(_explains(order, guess) for guess in guesses)


def _explains(order: Sequence[Access], guess: object) -> bool:
    state: object = None
    for each in order:
        if each.action is Action.WRITE:
            state = each.value
        elif each.action is Action.CLAIM:
            state = state if state is not None else each.value if each.certain else guess
            if each.certain and state != each.value:
                return False
        elif state != each.value:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn, actions: Sequence[Action]) -> list[Access]:
    """Up to six accesses of few values, much of it at the same time."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        action = draw(st.sampled_from(actions))
        invoked = draw(st.integers(0, 6))
        completed = invoked + draw(st.integers(1, 5))
        value = draw(st.sampled_from([1, 2, 3] if action is not Action.READ else [None, 1, 2, 3]))
        if action is not Action.READ and draw(st.integers(0, 3)) == 0:
            found.append(Access(action, None if action is Action.CLAIM else value, invoked, NEVER))
        else:
            found.append(Access(action, value, invoked, completed))
    return sorted(found, key=lambda access: access.invoked)


@pytest.mark.end_to_end
@settings(max_examples=400, deadline=None)
@given(histories([Action.WRITE, Action.READ]))
def test_the_search_agrees_with_brute_force_on_registers(history: list[Access]) -> None:
    """Whatever small history of reads and writes: both say the same."""
    assert (first_misfit(history) is None) == has_an_order(history)


@pytest.mark.end_to_end
@settings(max_examples=400, deadline=None)
@given(histories([Action.CLAIM, Action.READ]))
def test_the_search_agrees_with_brute_force_on_claims(history: list[Access]) -> None:
    """Whatever small history of claims and reads: both say the same."""
    assert (first_misfit(history) is None) == has_an_order(history)


@settings(max_examples=200, deadline=None)
@given(histories([Action.WRITE, Action.CLAIM, Action.READ]))
def test_the_search_agrees_with_brute_force_on_writes_beside_claims(history: list[Access]) -> None:
    """Whatever small history of all three: both say the same."""
    assert (first_misfit(history) is None) == has_an_order(history)


def test_a_hundred_readers_at_once_are_no_matter() -> None:
    """Reads that wait together don't multiply the configurations."""
    readers = [read(number % 2 + 1, 2, 50) for number in range(100)]
    assert first_misfit([write(1, 0, 1), write(2, 1.5, 60), *readers], most=1_000) is None


def test_too_many_writes_at_once_are_undecided_and_never_a_pass() -> None:
    """The search gives up, and says for which key."""
    crowd = [write(number, 0, 9) for number in range(30)]
    with pytest.raises(TooMany):
        first_misfit([*crowd, read(99, 10, 11)], most=1_000)
    found = linearity({"crowded": crowd, "quiet": [write(1, 0, 1), read(2, 3, 4)]}, most=1_000)
    assert found.undecided == ("crowded",)
    assert found.broken == {"quiet": read(2, 3, 4)}
    assert found.checked == 32


def test_keys_are_checked_apart() -> None:
    """What is wrong with one key says nothing of another."""
    found = linearity({"a": BAD["lost write"], "b": GOOD["one after the other"]})
    assert list(found.broken) == ["a"]


REGISTERS = Declared(("endpoint", "value.name"), writes={"set": "value.to"}, reads={"get": "answer.is"}, age="answer.age")


def operation(kind: str, status: str = "ok", key: str = "k", answer: object = None, **value: object) -> Operation:
    """An operation of one client."""
    return Operation(0, kind, "node-a", key, status, 1.0, 2.0, 200, value, answer)


def test_accesses_come_from_what_is_declared() -> None:
    """Key, value and age are found at their places; refused operations and unanswered reads are no accesses."""
    history = [
        operation("set", name="x", to=1),
        operation("set", "fail", name="x", to=2),
        operation("set", "unknown", name="x", to=3),
        operation("get", "unknown", name="x"),
        operation("get", name="x", answer={"is": 1, "age": "0.5"}),
        operation("get", name="y"),
        operation("else", name="x"),
    ]
    found = accesses(history, REGISTERS)
    assert found == {
        ("node-a", "x"): [write(1, 1, 2), write(3, 1), Access(Action.READ, 1, 1, 2, 0.5)],
        ("node-a", "y"): [read(None, 1, 2)],
    }


def test_accesses_come_in_the_order_in_which_they_were_invoked() -> None:
    """A history has them in another: as they were answered, or those of retries last."""
    history = [replace(operation("set", name="x", to=to), invoked=invoked) for to, invoked in ((1, 1.5), (2, 0.5))]
    assert [each.value for each in accesses(history, REGISTERS)["node-a", "x"]] == [2, 1]


def test_claims_have_what_they_were_told() -> None:
    """A claim's value comes from its answer."""
    declared = Declared(("key",), claims={"submit": "answer.job"})
    history = [operation("submit", answer={"job": "j1"}), operation("submit", "unknown")]
    assert accesses(history, declared) == {("k",): [claim("j1", 1, 2), claim(None, 1)]}
