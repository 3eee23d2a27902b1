"""What a sound federation would say of itself, in the shape that the invariants observe; tests then bend it."""

from __future__ import annotations

import base64
import copy
from typing import Any

from gates.node import ballot, receipts
from gates.node.cid import DAG_CBOR, cid_of
from gates.node.identity import Identity
from gates.node.jobbook import job_id
from gates.node.motion import Motion
from gates.node.tally import Tally

NAMES = ("node-a", "node-b")
COMPLETED = ("Submitted", "BiddingOpen", "BiddingClosed", "Assigned", "Executing", "Completed")
CANCELLED = ("Submitted", "BiddingOpen", "Cancelled")
COST, PRICE, MINTED = 10, 4, 1000
START, DEADLINE = 1_000_000, 1_060_000


class Told:
    """A federation of two nodes; every node runs its own jobs and holds every block."""

    def __init__(self) -> None:
        self.who = {name: Identity.from_seed(bytes([number + 1]) * 32) for number, name in enumerate(NAMES)}
        self.nodes: dict[str, dict[str, Any]] = {name: self._node(name) for name in NAMES}
        self.blocks: dict[str, str] = {}

    def _node(self, name: str) -> dict[str, Any]:
        sums = {"minted": MINTED, "regenerated": 0, "burned": 0, "balances": MINTED, "reserved": 0, "accounts": 1}
        return {"did": self.who[name].did, "sums": sums, "jobs": [], "root": "root", "damaged": [], "proposals": []}

    def job(self, name: str, key: str, *, history: tuple[str, ...] = COMPLETED) -> dict[str, Any]:
        """A job on *name* that went through *history*, with its mana and receipt; its values by field."""
        job: dict[str, Any] = {"key": key, "id": job_id(self.who[name].did, key), "cost": COST, "status": history[-1]}
        job |= {"price": None, "executor": None, "result": None, "result_cid": None, "receipt": None}
        job["history"] = [[status, START + step] for step, status in enumerate(history)]
        sums = self.nodes[name]["sums"]
        if job["status"] == "Completed":
            job |= {"price": PRICE, "executor": self.who[name].did, "result": f"echo {key}"}
            receipt = receipts.make(self.who[name], job["id"], job["result"], 1, success=True)
            job |= {"result_cid": receipt.result_cid, "receipt": self.block(receipt.block())}
            sums["burned"] += PRICE
            sums["balances"] -= PRICE
        elif job["status"] not in ("Failed", "Cancelled"):
            sums["reserved"] += COST
            sums["balances"] -= COST
        self.nodes[name]["jobs"].append(job)
        return job

    def block(self, data: bytes) -> str:
        """Have all nodes hold *data*; its CID."""
        cid = cid_of(data, DAG_CBOR)
        self.blocks[cid] = base64.b64encode(data).decode()
        return cid

    def pay(self, name: str, fee: int) -> None:
        """Burn a fee on *name*."""
        self.nodes[name]["sums"]["burned"] += fee
        self.nodes[name]["sums"]["balances"] -= fee

    def proposal(self, name: str, *, kind: str = "GenericText", data: dict[str, Any] | None = None, key: str = "p") -> str:
        """A proposal made on *name*, shown as open everywhere."""
        motion = Motion(kind, {"text": ""} if data is None else data, "why", 60)
        who = self.who[name]
        cid = self.block(ballot.proposal_block(motion, who.did, key, START, (), who))
        self.pay(name, 10)
        for node in self.nodes.values():
            shown = {"id": cid, "status": "VotingOpen", "votes": [], "tally": {"yes": 0, "no": 0, "abstain": 0}}
            node["proposals"].append(shown)
        return cid

    def vote(self, name: str, proposal: str, option: str = "Yes", *, at: int = START, shown: bool = True) -> str:
        """The vote of *name*, counted everywhere."""
        who = self.who[name]
        cid = self.block(ballot.vote_block(proposal, who.did, option, at, who))
        self.pay(name, 1)
        for node in self.nodes.values() if shown else ():
            entry = next(each for each in node["proposals"] if each["id"] == proposal)
            entry["votes"].append({"voter": who.did, "option": option, "cid": cid})
            entry["tally"][option.lower()] += 1
        return cid

    def close(self, name: str, proposal: str, votes: list[str], sums: Tally, status: str) -> str:
        """The close of a proposal by its home *name*."""
        for node in self.nodes.values():
            next(each for each in node["proposals"] if each["id"] == proposal)["status"] = status
        return self.block(ballot.close_block(proposal, votes, sums, status, START + 1, self.who[name]))

    def observed(self) -> dict[str, Any]:
        """As the invariants get it."""
        fields = ("key", "id", "cost", "status", "price", "executor", "result", "result_cid", "receipt", "history")
        nodes = copy.deepcopy(self.nodes)
        for node in nodes.values():
            node["jobs"] = [[job[field] for field in fields] for job in node["jobs"]]
            node.setdefault("cids", sorted(self.blocks))
        return {"nodes": nodes, "blocks": dict(self.blocks)}
