"""The invariants over blocks: every receipt holds and is everywhere, and all nodes hold the same."""

from __future__ import annotations

from collections.abc import Sequence

from gates.model import InvariantOutcome, Operation
from gates.node.invariants import OverFederation, census, named, spec, table
from gates.node.observation import Block, Federation, Job
from gates.node.proof import cid_of


class ReceiptsVerify(OverFederation):
    """Every completed job has a receipt that its executor signed over this job and this result.

    A receipt that no node holds can't be verified: while all that were seen hold, nothing is measured.
    """

    name = "receipts-verify"
    summary = "Every completed job's receipt is signed by its executor, and names the job and the CID of its result."
    metrics = (spec("receipts.unverified", "Completed jobs without a receipt that holds"),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        dids = {node.did for node in after.nodes.values()}
        done = [job for node in after.nodes.values() for job in node.jobs if job.status == "Completed"]
        found = [job for job in done if job.receipt in after.blocks]
        without = [job for job in done if not job.receipt]
        unseen = [job for job in done if job.receipt and job.receipt not in after.blocks]
        wrong = [job for job in found if not vouches(after.blocks[job.receipt], job, dids)] + without
        rows = [
            ("completed jobs", len(done)),
            ("receipts found", len(found)),
            ("jobs that name no receipt", len(without)),
            ("receipts that no node holds", len(unseen)),
            ("receipts that don't hold", len(wrong)),
        ]
        measured = census("receipts.unverified", len(wrong), len(found) + len(without))
        return InvariantOutcome(
            measured if wrong or not unseen else (),
            table("Receipts, verified here", ("what", "count"), rows),
            (
                *named("a receipt that does not hold, by job", [job.id for job in wrong]),
                *named("receipts that no node holds, so that nobody can verify them, by job", [job.id for job in unseen]),
            ),
        )


def vouches(block: Block, job: Job, dids: set[str]) -> bool:
    """Whether *block* is a receipt for *job* and its result, signed by the executor, which is one of *dids*."""
    told = block.document
    result = cid_of(job.result.encode()) if job.result is not None else job.result_cid
    stated = tuple(told.get(field) for field in ("type", "job_id", "executor_did", "result_cid"))
    same = stated == ("icn/receipt", job.id, job.executor, result)
    return block.sound and same and job.result_cid == result and told.get("success") is True and job.executor in dids


class ReceiptsEverywhere(OverFederation):
    """The receipt of every completed job is anchored in the block store of every node."""

    name = "receipts-everywhere"
    summary = "The receipt of every completed job is in the block store of every node."
    metrics = (spec("receipts.missing", "Receipts that a node lacks, summed over the nodes"),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        due = [job.receipt for node in after.nodes.values() for job in node.jobs if job.status == "Completed"]
        missing = {name: [cid for cid in due if cid not in node.cids] for name, node in after.nodes.items()}
        rows = [(name, len(due), len(node.cids), len(missing[name])) for name, node in after.nodes.items()]
        return InvariantOutcome(
            census("receipts.missing", sum(len(cids) for cids in missing.values()), len(due) * len(after.nodes)),
            table("Receipts in the block stores", ("node", "receipts due", "blocks held", "receipts missing"), rows),
            named("receipts that a node lacks", sorted({cid for cids in missing.values() for cid in cids})),
        )


class RootsConverge(OverFederation):
    """All nodes hold the same blocks, undamaged, and say so by the same root."""

    name = "roots-converge"
    summary = (
        f"All nodes hold the same blocks and have the same root within {OverFederation.within:g} s after the last request."
    )
    metrics = (spec("roots.diverged", "Blocks that not all nodes hold, and roots that differ although the blocks don't", 20),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        everything = frozenset[str]().union(*(node.cids for node in after.nodes.values()))
        lacking = {name: sorted(everything - node.cids) for name, node in after.nodes.items()}
        apart = {cid for cids in lacking.values() for cid in cids}
        damaged = sorted({cid for node in after.nodes.values() for cid in node.damaged} - apart)
        other_roots = len({node.root for node in after.nodes.values()}) - 1 if not apart else 0
        rows = [(name, node.root, len(node.cids), len(lacking[name]), len(node.damaged)) for name, node in after.nodes.items()]
        return InvariantOutcome(
            census("roots.diverged", len(apart) + len(damaged) + max(0, other_roots), len(everything)),
            table("Roots and blocks", ("node", "root", "blocks", "lacking", "damaged"), rows),
            (
                *named("blocks that a node lacks", sorted(apart)),
                *named("damaged blocks", damaged),
                *named("roots differ over the same blocks", sorted({n.root for n in after.nodes.values()}) * (other_roots > 0)),
            ),
        )
