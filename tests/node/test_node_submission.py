"""What is a job and what is not: every field of a submission with what may be in it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gates.node.errors import Refusal
from gates.node.submission import HIGHEST_COST, MOST_ITERATIONS, Submission, parse_submission

ECHO = {"kind": {"Echo": {"payload": "hello"}}}
JOB = {"manifest_cid": "bafyjobmanifest", "spec_json": ECHO, "cost_mana": 10}


def parsed(key: str | None = "k", **changes: Any) -> Submission:
    return parse_submission(json.dumps({**JOB, **changes}).encode(), key)


def code(body: bytes, key: str | None = "k") -> int:
    with pytest.raises(Refusal) as caught:
        parse_submission(body, key)
    return caught.value.code


def spec(**changes: Any) -> dict[str, Any]:
    return {**ECHO, **changes}


def cpu(**changes: Any) -> dict[str, Any]:
    return {"kind": {"Cpu": {"iterations": 1000, "seed": 7, **changes}}}


@pytest.mark.parametrize(
    "good", [ECHO, cpu(), spec(inputs=["a"], outputs=[]), spec(required_resources={"cpu_cores": 1, "memory_mb": 0})]
)
def test_a_job_may_be_an_echo_or_a_bounded_computation(good: Any) -> None:
    """Given as JSON or as the base64 of JSON, it is the same job."""
    encoded = base64.b64encode(json.dumps(good).encode()).decode()
    body = {"manifest_cid": "bafyjobmanifest", "spec_bytes": encoded, "cost_mana": 10}
    assert parsed(spec_json=good) == parse_submission(json.dumps(body).encode(), "k")


def test_the_order_and_space_of_a_body_do_not_matter() -> None:
    """A client that writes the same job in another way repeats it."""
    body = b' {"cost_mana" : 10, "spec_json": {"kind" : {"Echo":{"payload":"hello"}}}, "manifest_cid":"bafyjobmanifest"}'
    assert parse_submission(body, "k") == parsed()


def test_a_job_without_a_key_has_one_made_of_its_content() -> None:
    """So the same body sent twice is one job, and another cost is another job."""
    assert parsed(None) == parsed(None)
    assert parsed(None).key != parsed(None, cost_mana=11).key


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON has one kind of numbers: 10.0 is 10, and so the same job."""
    assert parsed(cost_mana=10.0) == parsed(cost_mana=10)


@pytest.mark.parametrize("cost", [0, -1, HIGHEST_COST + 1, 2**53, 10**400, 1.5, 10.25, 0.5, True, False, "10", None, [], {}])
def test_a_cost_is_a_whole_number_from_1_to_1000(cost: Any) -> None:
    """Huge, negative, fractional and boolean amounts are none."""
    assert code(json.dumps({**JOB, "cost_mana": cost}).encode()) == 422


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"cost_mana": NaN}',
        b'{"cost_mana": 1e999}',
        b'{"cost_mana": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    """Truncated, not UTF-8, nested without end, or with numbers that JSON does not have."""
    assert code(body) == 400


@pytest.mark.parametrize("value", [[], "text", 1, None, {}, {**JOB, "more": 1}, {**JOB, "spec_bytes": "e30="}])
def test_a_body_is_an_object_with_the_three_fields(value: Any) -> None:
    """No more and no less of them."""
    assert code(json.dumps(value).encode()) == 422


@pytest.mark.parametrize("manifest", ["", "b a", "../etc", "x" * 129, 1, None, ["b"]])
def test_a_manifest_is_a_content_id(manifest: Any) -> None:
    """Letters and digits."""
    assert code(json.dumps({**JOB, "manifest_cid": manifest}).encode()) == 422


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"kind": None},
        {"kind": {}},
        {"kind": "GenericPlaceholder"},
        {"kind": {"Echo": {}}},
        {"kind": {"Echo": {"payload": 1}}},
        {"kind": {"Echo": {"payload": "a", "more": 1}}},
        {"kind": {"Echo": {"payload": "a"}, "Cpu": {"iterations": 1, "seed": 1}}},
        {"kind": {"Wasm": {}}},
        {"kind": {"Cpu": {"iterations": 1}}},
        *(cpu(iterations=wrong) for wrong in (0, -1, MOST_ITERATIONS + 1, 1.5, True, "1")),
        *(cpu(seed=wrong) for wrong in (-1, 1.5, True, None)),
        spec(inputs="a"),
        spec(outputs=[1]),
        spec(required_resources=[]),
        spec(required_resources={"cpu_cores": -1}),
        spec(required_resources={"cpu_cores": 1.5}),
        spec(required_resources={"gpus": 1}),
        spec(more=1),
        {"kind": {"Echo": {"payload": "\ud800"}}},
    ],
)
def test_a_specification_is_one_that_a_node_can_carry_out(wrong: Any) -> None:
    """Everything else is refused, whichever way it is given."""
    assert code(json.dumps({**JOB, "spec_json": wrong}).encode()) == 422
    encoded = base64.b64encode(json.dumps(wrong).encode()).decode()
    assert code(json.dumps({"manifest_cid": "b", "spec_bytes": encoded, "cost_mana": 1}).encode()) == 422


@pytest.mark.parametrize(("text", "expected"), [("§", 422), ("e30", 422), (5, 422), ([101], 422), ("eA==", 400)])
def test_spec_bytes_are_base64_of_json(text: Any, expected: int) -> None:
    """What cannot be decoded is a wrong value, what was decoded and is no JSON a bad request."""
    assert code(json.dumps({"manifest_cid": "b", "spec_bytes": text, "cost_mana": 1}).encode()) == expected


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 129, "a\n"])
def test_a_key_is_visible_ascii(key: str) -> None:
    """It comes in a header, and it goes into logs."""
    assert code(json.dumps(JOB).encode(), key) == 400
