"""What a client submits, checked: a job's manifest, specification and cost, and the key it is submitted under."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gates.node import http
from gates.node.errors import Refusal

HIGHEST_COST = 1000
MOST_ITERATIONS = 10_000_000
_RESOURCES = ("cpu_cores", "memory_mb", "storage_mb")
_CONTENT_ID = re.compile(r"[A-Za-z0-9]{1,128}")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid job as submitted.

    Attributes:
        key: the idempotency key, the client's or one derived from the content.
        content: digest of what was asked for; the same key with another content is a conflict.
        manifest: content id of the job's manifest, as given.
        spec: the job specification as canonical JSON.
        cost: mana that is reserved, and the most that the job may cost.
    """

    key: str
    content: str
    manifest: str
    spec: str
    cost: int


def parse_submission(body: bytes, key: str | None) -> Submission:
    """The submission in a request's body. Raises Refusal with 400 for what is no JSON and 422 for wrong values."""
    fields = http.fields(http.load_json(body), ("manifest_cid", "cost_mana"), ("spec_bytes", "spec_json"))
    if ("spec_json" in fields) == ("spec_bytes" in fields):
        raise Refusal(422, "expected either spec_json or spec_bytes")
    spec = fields["spec_json"] if "spec_json" in fields else http.load_json(_decoded(fields["spec_bytes"]), "spec_bytes")
    return make_submission(fields["manifest_cid"], spec, fields["cost_mana"], key)


def make_submission(manifest: Any, spec: Any, cost: Any, key: str | None) -> Submission:
    """A submission of these values, which may be anything. Raises Refusal with 400 for the key and 422 for the others."""
    if not isinstance(manifest, str) or not _CONTENT_ID.fullmatch(manifest):
        raise Refusal(422, "manifest_cid: expected a content id of 1 to 128 letters and digits")
    check_spec(spec)
    http.integer({"cost_mana": cost}, "cost_mana", lowest=1, highest=HIGHEST_COST)
    canonical = _canonical(spec)
    content = hashlib.sha256(f"{manifest} {cost} {canonical}".encode()).hexdigest()
    return Submission(checked_key(key, content), content, manifest, canonical, cost)


def checked_key(key: str | None, content: str) -> str:
    """The client's idempotency *key*, or one made of the *content*. Raises Refusal with 400."""
    if key is None:
        return f"content:{content}"
    if not _KEY.fullmatch(key):
        raise Refusal(400, "Idempotency-Key: expected 1 to 128 visible ASCII characters")
    return key


def check_spec(spec: Any) -> None:
    """Check a job specification. Raises Refusal with 422."""
    parts = http.fields(spec, ("kind",), ("inputs", "outputs", "required_resources"), "the job specification")
    _check_kind(http.fields(parts["kind"], (), ("Echo", "Cpu"), "kind"))
    for name in ("inputs", "outputs"):
        texts = parts.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refusal(422, f"{name}: expected a list of strings")
    resources = http.fields(parts.get("required_resources", {}), (), _RESOURCES, "required_resources")
    for name in resources:
        http.integer(resources, name)


def _check_kind(kind: Mapping[str, Any]) -> None:
    if len(kind) != 1:
        raise Refusal(422, "kind: expected one of Echo and Cpu")
    if "Echo" in kind:
        http.text(http.fields(kind["Echo"], ("payload",), (), "kind.Echo"), "payload", shortest=0, longest=http.LARGEST_BODY)
    else:
        work = http.fields(kind["Cpu"], ("iterations", "seed"), (), "kind.Cpu")
        http.integer(work, "iterations", lowest=1, highest=MOST_ITERATIONS)
        http.integer(work, "seed")


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Refusal(422, "spec_bytes: expected a base64 string") from None
