"""What a client submits, and what the node makes of it: a checked submission, its identity, and its execution."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

HIGHEST_COST = 1000
MOST_RESOURCES = 2**53
_RESOURCES = {"cpu_cores", "memory_mb", "storage_mb"}
_CONTENT_ID = re.compile(r"[A-Za-z0-9]{1,128}")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class Refusal(Exception):
    """A request that the node will not carry out; *code* is the HTTP status and the text goes to the client."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid job as submitted.

    Attributes:
        key: the idempotency key, the client's or one derived from the content.
        content: digest of what was asked for; the same key with another content is a conflict.
        manifest: content id of the job's manifest, as given.
        spec: the job specification as canonical JSON.
        cost: mana to be charged, once.
    """

    key: str
    content: str
    manifest: str
    spec: str
    cost: int


def content_id(data: bytes) -> str:
    """The CIDv1 (raw, sha2-256, base32) of *data*."""
    multihash = b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()
    return "b" + base64.b32encode(multihash).decode().lower().rstrip("=")


def job_id(owner: str, key: str) -> str:
    """The id of the job that *owner* submitted under *key*: the same key is the same job, whoever computes it."""
    return content_id(f"{owner}\n{key}".encode())


def parse_submission(body: bytes, key: str | None) -> Submission:
    """The submission in a request body. Raises Refusal with 400 for what is no JSON and 422 for wrong values."""
    fields = _object(_load(body, "the body"), "the body", {"manifest_cid", "spec_bytes", "spec_json", "cost_mana"})
    manifest = fields.get("manifest_cid")
    if not isinstance(manifest, str) or not _CONTENT_ID.fullmatch(manifest):
        raise Refusal(422, "manifest_cid: expected a content id of 1 to 128 letters and digits")
    spec = _canonical(_spec(fields))
    cost = _cost(fields.get("cost_mana"))
    content = hashlib.sha256(_canonical([manifest, spec, cost]).encode()).hexdigest()
    return Submission(_checked_key(key, content), content, manifest, spec, cost)


def execute(spec: str) -> str:
    """Carry out the job *spec*; the payload of an Echo comes back as it was."""
    payload: str = json.loads(spec)["kind"]["Echo"]["payload"]
    return payload


def _checked_key(key: str | None, content: str) -> str:
    if key is None:
        return f"content:{content}"
    if not _KEY.fullmatch(key):
        raise Refusal(400, "Idempotency-Key: expected 1 to 128 visible ASCII characters")
    return key


def _cost(cost: Any) -> int:
    if isinstance(cost, bool) or not isinstance(cost, int) or not 1 <= cost <= HIGHEST_COST:
        raise Refusal(422, f"cost_mana: expected an integer from 1 to {HIGHEST_COST}")
    return cost


def _spec(fields: dict[str, Any]) -> Any:
    """The specification, given as `spec_json` or, base64-encoded, as `spec_bytes`."""
    if ("spec_json" in fields) == ("spec_bytes" in fields):
        raise Refusal(422, "expected either spec_json or spec_bytes")
    spec = fields["spec_json"] if "spec_json" in fields else _load(_decoded(fields["spec_bytes"]), "spec_bytes")
    parts = _object(spec, "the job specification", {"kind", "inputs", "outputs", "required_resources"})
    kind = _object(parts.get("kind"), "kind", {"Echo"})
    payload = _object(kind.get("Echo"), "kind.Echo", {"payload"}).get("payload")
    if not isinstance(payload, str):
        raise Refusal(422, "kind.Echo.payload: expected a string")
    for name in ("inputs", "outputs"):
        texts = parts.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refusal(422, f"{name}: expected a list of strings")
    for name, amount in _object(parts.get("required_resources", {}), "required_resources", _RESOURCES).items():
        if type(amount) is not int or not 0 <= amount <= MOST_RESOURCES:
            raise Refusal(422, f"required_resources.{name}: expected an integer from 0 to {MOST_RESOURCES}")
    return spec


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Refusal(422, "spec_bytes: expected a base64 string") from None


def _load(body: bytes, what: str) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, f"{what}: not valid UTF-8 JSON") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _object(value: Any, what: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(422, f"{what}: expected an object")
    unknown = sorted(set(value) - known)
    if unknown:
        raise Refusal(422, f"{what}: unknown key {unknown[0][:40]!r}")
    return value


def _canonical(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal(422, "a string holds half of a surrogate pair") from None
    return text
