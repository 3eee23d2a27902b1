"""What the document names as formats and JSON Schema can't spell out: schemathesis makes good ones of these."""

from __future__ import annotations

import base64
import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

from gates.node.cid import encode
from gates.node.identity import Identity


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _specification(kind: dict[str, Any]) -> str:
    return _encoded(json.dumps({"kind": kind}).encode())


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=100)
_ECHO = st.builds(lambda payload: {"Echo": {"payload": payload}}, _TEXTS)
_CPU = st.builds(
    lambda iterations, seed: {"Cpu": {"iterations": iterations, "seed": seed}}, st.integers(1, 100), st.integers(0, 9)
)
_VALUES = st.recursive(
    st.none() | st.integers(-(2**40), 2**40) | _TEXTS | st.binary(max_size=50), lambda inner: st.lists(inner, max_size=3)
)
_MAPS = st.dictionaries(_TEXTS.filter(lambda name: name != "type"), _VALUES, max_size=3)  # a type is one of the node's own

schemathesis.openapi.format("did-key", st.binary(min_size=32, max_size=32).map(lambda seed: Identity.from_seed(seed).did))
schemathesis.openapi.format("job-specification", (_ECHO | _CPU).map(_specification))
schemathesis.openapi.format("dag-cbor", _MAPS.map(encode).map(_encoded))
