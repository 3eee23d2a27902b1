"""Write docs/claims.md from workflows/readiness.yaml, docs/original-claims.yaml and the report of a run.

    python docs/generate_claims.py [.readiness/latest/readiness.json]

Without a report the verdicts are those of no run: every claim stands as not measured.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from gates import codec
from gates.model import ClaimReport, Report

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Claims

A readiness report is a list of claims that somebody relies on. This page answers the claims of the original, ICN Core's
`PRODUCTION_READINESS_REPORT.md` (InterCooperative-Network/icn-core at 71de879c), one by one. `./noxw -s claims` writes it.
"""


@dataclass(frozen=True, slots=True)
class Original:
    """A claim of the original, what its code did, and our claim that answers it or what is still open."""

    original: str
    did: str
    claim: str = ""
    open: str = ""


def originals(path: Path = ROOT / "docs" / "original-claims.yaml") -> list[Original]:
    """The claims of the original in file order."""
    return [Original(**entry) for entry in yaml.safe_load(path.read_text())]


def ours(path: Path = ROOT / "workflows" / "readiness.yaml") -> dict[str, Sequence[str]]:
    """Our claims, each with the criteria that it is bound to."""
    return {entry["say"]: entry["by"] for entry in yaml.safe_load(path.read_text())["claims"]}


def render(claims: Mapping[str, Sequence[str]], answered: Sequence[Original], report: Report | None) -> str:
    """The page, in Markdown."""
    said = {each.claim.say: each for each in report.claims} if report else {}
    measured = (
        f"Verdicts are those of run `{report.plan.run}`, profile {report.plan.profile}.\n" if report else "No run is shown.\n"
    )
    rows = [_row(claim, by, said.get(claim), [o for o in answered if o.claim == claim]) for claim, by in claims.items()]
    open_ = [f"| {each.original} | {each.did} | {each.open} |" for each in answered if each.open]
    return "\n".join(
        [
            HEAD,
            "## Claims with criteria\n",
            measured,
            "| claim | criteria | verdict | evidence | the original |",
            "|---|---|---|---|---|",
            *rows,
            "\n## Open: no criterion yet\n",
            "| claim of the original | what it did | what is missing here |",
            "|---|---|---|",
            *open_,
            "",
        ]
    )


def _row(claim: str, by: Sequence[str], said: ClaimReport | None, answered: Sequence[Original]) -> str:
    verdict = str(said.outcome).replace("_", " ") if said else "not measured"
    evidence = said.reason.replace("|", "\\|") if said else ""
    before = "<br>".join(f"*{each.original}*: {each.did}" for each in answered)
    return f"| {claim} | {'<br>'.join(f'`{each}`' for each in by)} | {verdict} | {evidence} | {before} |"


def main(arguments: Sequence[str]) -> None:
    """Render the page beside this file."""
    report = codec.read(Path(arguments[0]), Report) if arguments else None
    (ROOT / "docs" / "claims.md").write_text(render(ours(), originals(), report))


if __name__ == "__main__":
    main(sys.argv[1:])
