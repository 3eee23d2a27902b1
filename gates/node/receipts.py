"""What an executor signs for a job that it carried out, and what everybody else checks of it.

The signed document is the map of `type`, `job_id`, `executor_did`, `result_cid`, `cpu_ms` and `success`, no more, so that the
interface's receipt (with the signature in hexadecimal) and the block in the DAG (with its bytes) are the same receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gates.node import http
from gates.node.cid import cid_of, encode, parse
from gates.node.dag import Block
from gates.node.errors import Refusal
from gates.node.identity import SIGNATURE_BYTES, Identity, is_did, signed, valid
from gates.node.storage import Transaction

KIND = "icn/receipt"
LONGEST_CPU_MS = 10**9
FIELDS = ("job_id", "executor_did", "result_cid", "cpu_ms", "success", "signature_hex")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution, as its executor signed it.

    Attributes:
        job: id of the job.
        executor: DID of the node that carried it out.
        result_cid: CID of the bytes of the result, or of the reason when it is no success.
        cpu_ms: processor time that it took.
        success: whether there is a result.
        signature: Ed25519 over the document without it.
    """

    job: str
    executor: str
    result_cid: str
    cpu_ms: int
    success: bool
    signature: bytes

    def document(self) -> dict[str, Any]:
        """The map that is signed, with its signature."""
        return {**_unsigned(self.job, self.executor, self.result_cid, self.cpu_ms, self.success), "signature": self.signature}

    def block(self) -> bytes:
        """The receipt as it is anchored."""
        return encode(self.document())

    def shown(self) -> dict[str, Any]:
        """The receipt in the interface's shape."""
        fields = self.document()
        del fields["type"], fields["signature"]
        return {**fields, "signature_hex": self.signature.hex()}

    def genuine(self) -> bool:
        """Whether the executor that it names has signed it."""
        return valid(KIND, self.document(), self.executor)

    def of(self, result: str) -> bool:
        """Whether it is the receipt of this *result*."""
        return cid_of(result.encode()) == self.result_cid


def make(identity: Identity, job: str, result: str, cpu_ms: int, *, success: bool) -> Receipt:
    """The receipt that *identity* signs for *result*."""
    document = signed(KIND, _unsigned(job, identity.did, cid_of(result.encode()), cpu_ms, success), identity)
    return _receipt(document, document["signature"])


def read(values: Any) -> Receipt:
    """The receipt in the interface's shape. Raises Refusal with 422; the signature is not checked yet."""
    fields = http.fields(values, FIELDS, ("result",), "the receipt")
    return _receipt(_checked(fields), _signature(http.text(fields, "signature_hex", longest=2 * SIGNATURE_BYTES)))


def read_document(document: Any) -> Receipt:
    """The receipt in a block's document. Raises Refusal with 422; the signature is not checked yet."""
    fields = http.fields(document, ("type", *FIELDS[:-1], "signature"), (), "the receipt")
    signature = fields["signature"]
    if not isinstance(signature, bytes):
        raise Refusal(422, "signature: expected bytes")
    return _receipt(_checked(fields), signature)


def project(_tx: Transaction, block: Block) -> None:
    """Let a block of receipts in only when the executor that it names has signed it. Raises Refusal with 422."""
    if not read_document(block.document).genuine():
        raise Refusal(422, "the receipt is not signed by the executor that it names")


def _unsigned(job: str, executor: str, result_cid: str, cpu_ms: int, success: bool) -> dict[str, Any]:
    fields = {"job_id": job, "executor_did": executor, "result_cid": result_cid, "cpu_ms": cpu_ms, "success": success}
    return {"type": KIND, **fields}


def _receipt(fields: Mapping[str, Any], signature: bytes) -> Receipt:
    job, executor, result_cid, cpu_ms, success = (fields[name] for name in FIELDS[:-1])
    return Receipt(job, executor, result_cid, cpu_ms, success, signature)


def _checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """*fields* when all but the signature are well formed."""
    http.text(fields, "job_id", longest=128)
    executor = http.text(fields, "executor_did", longest=128)
    if not is_did(executor):
        raise Refusal(422, "executor_did: expected a did:key of Ed25519")
    try:
        parse(fields["result_cid"])
    except Refusal as refusal:
        raise Refusal(422, f"result_cid: {refusal}") from None
    http.integer(fields, "cpu_ms", highest=LONGEST_CPU_MS)
    if not isinstance(fields["success"], bool):
        raise Refusal(422, "success: expected true or false")
    return fields


def _signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Refusal(422, f"signature_hex: expected {2 * SIGNATURE_BYTES} hexadecimal digits") from None
