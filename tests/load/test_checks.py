"""Every kind of check of a response: what it refuses, and what it lets pass, by a real server's answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from odd_server import odd_server

from gates.load.engine import run_load
from gates.load.failure import Failure
from gates.load.plan import LoadPlan


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


def failures(url: str, check: dict[str, Any], path: str = "/later") -> dict[Failure, int]:
    """What becomes of 8 arrivals; the answer of `/later` is 503 with `Retry-After: 2` and the body `{"error": "full"}`."""
    flow = {"steps": [{"path": path, "check": check}]}
    return dict(run_load(LoadPlan("", "", 400, 0.02, 0.0, 4, 60, {"do": 1}, {"do": flow}), {"main": url}, seed=1).failures)


CHECKS = [
    ({"status": 503}, {"status": 429}, Failure.STATUS),
    ({"status": [500, 503]}, {"status": [200, 429]}, Failure.STATUS),
    ({"status": 503}, {}, Failure.STATUS),
    ({"headers": {"Retry-After": "2"}}, {"headers": {"Retry-After": "3"}}, Failure.HEADER),
    ({"headers": {"retry-after": {"matches": "^2$"}}}, {"headers": {"retry-after": {"matches": "^3$"}}}, Failure.HEADER),
    ({"headers": {"X-Key": {"exists": False}}}, {"headers": {"Retry-After": {"exists": False}}}, Failure.HEADER),
    ({"headers": {"Retry-After": {"exists": True}}}, {"headers": {"X-Key": {"exists": True}}}, Failure.HEADER),
    ({"headers": {"Retry-After": "2"}}, {"headers": {"X-Key": "2"}}, Failure.HEADER),
    ({"body_contains": "full"}, {"body_contains": "empty"}, Failure.BODY),
    ({"body_contains": ["full", "error"]}, {"body_contains": ["full", "empty"]}, Failure.BODY),
    ({"json": {"error": "full"}}, {"json": {"error": "empty"}}, Failure.BODY),
    ({"json": {"error": {"equals": "full"}}}, {"json": {"error": {"equals": "empty"}}}, Failure.BODY),
    ({"json": {"error": {"type": "string"}}}, {"json": {"error": {"type": "object"}}}, Failure.BODY),
    ({"json": {"error": {"matches": "^f"}}}, {"json": {"error": {"matches": "^e"}}}, Failure.BODY),
    ({"json": {"error": {"one_of": ["full", "busy"]}}}, {"json": {"error": {"one_of": ["empty", "busy"]}}}, Failure.BODY),
    ({"json": {"reason": {"exists": False}}}, {"json": {"error": {"exists": False}}}, Failure.BODY),
    ({"json": {"error": {"exists": True}}}, {"json": {"reason": {"exists": True}}}, Failure.BODY),
    ({"json": {"error": {"type": "string"}}}, {"json": {"error": {"at_least": 1}}}, Failure.BODY),
]


@pytest.mark.parametrize(("right", "wrong", "failure"), CHECKS)
def test_every_kind_of_check_refuses_what_it_is_for(
    url: str, right: dict[str, Any], wrong: dict[str, Any], failure: Failure
) -> None:
    """A check that was dropped would let the second pass; the first shows that nothing else refuses it."""
    status = {} if failure is Failure.STATUS else {"status": 503}
    assert failures(url, status | right) == {}
    assert failures(url, status | wrong) == {failure: 8}


@pytest.mark.parametrize(
    ("place", "right", "wrong"),
    [
        ("flags.0", {"at_least": 1}, {"at_least": 2}),
        ("flags.0", {"at_most": 1}, {"at_most": 0}),
        ("flags.0", {"at_least": 0, "at_most": 1}, {"at_least": 0, "at_most": 0}),
        ("flags.0", {"type": "integer"}, {"type": "boolean"}),
        ("flags.1.a", {"type": "number"}, {"type": "null"}),
        ("ok", {"type": "boolean"}, {"at_least": 0}),
        ("ok", {"equals": True}, {"equals": 1}),
        ("flags", {"equals": [1, {"a": 0}]}, {"equals": [1, {"a": 1}]}),
        ("flags", {"equals": [1, {"a": 0}]}, {"equals": [1, {"a": False}]}),
        ("flags", {"type": "array"}, {"one_of": [[1], [True, {"a": 0}]]}),
    ],
)
def test_numbers_lists_and_what_lies_in_them_are_compared_as_json_has_them(
    url: str, place: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """The answer is `{"ok": true, "flags": [1, {"a": 0}]}`; true is no number, and 0 is not false."""
    assert failures(url, {"json": {place: right}}, "/ones") == {}
    assert failures(url, {"json": {place: wrong}}, "/ones") == {Failure.BODY: 8}


def test_what_is_compared_with_a_value_of_the_arrival_is_compared_for_each(url: str) -> None:
    """The server echoes each number: the next one is wrong each time, also after an answer that was right."""
    step = {"method": "POST", "path": "/echo", "body": {"n": "{n}"}}
    for wanted, expected in (("{n}", {}), ("{n}0", {Failure.BODY: 8}), ("0", {Failure.BODY: 7})):
        flow = {"steps": [{**step, "check": {"json": {"n": wanted}}}]}
        plan = LoadPlan("", "", 400, 0.02, 0.0, 1, 60, {"do": 1}, {"do": flow})
        assert dict(run_load(plan, {"main": url}, seed=1).failures) == expected


ECHO = {"method": "POST", "path": "/echo", "body": {"n": "0"}}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{**ECHO, "check": {"json": {"n": "{n}"}}}], {Failure.BODY: 7}),
        ([{**ECHO, "path": "/echo/{n}", "check": {"headers": {"X-Path": "/echo/0"}}}], {Failure.HEADER: 7}),
        ([{**ECHO, "capture": {"was": "n"}}, {**ECHO, "check": {"json": {"n": "{was}"}}}], {}),
    ],
)
def test_a_body_that_was_right_before_is_looked_at_again_where_more_than_it_counts(
    url: str, steps: list[dict[str, Any]], expected: dict[Failure, int]
) -> None:
    """The same bytes each time: the arrival, the headers or what is captured still decide."""
    plan = LoadPlan("", "", 400, 0.02, 0.0, 1, 60, {"do": 1}, {"do": {"steps": steps}})
    assert dict(run_load(plan, {"main": url}, seed=1).failures) == expected
