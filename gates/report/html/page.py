"""The page: head and policy, the verdict, the strip of facts, the gates, the claims, the foot."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from gates.model import ClaimReport, Outcome, Report, Verdict
from gates.report import reading
from gates.report.facts import Fact, facts
from gates.report.html.gate import anchors, section
from gates.report.html.overview import overview
from gates.report.html.parts import findings, head, scrolling, sign
from gates.report.prose import text

_OUTCOMES = {Verdict.READY: Outcome.PASS, Verdict.NOT_READY: Outcome.FAIL, Verdict.INCONCLUSIVE: Outcome.INCONCLUSIVE}


def render(report: Report) -> str:
    """The whole page. The same report gives the same bytes."""
    links = anchors(report)
    body = [
        _top(report, links),
        _facts(facts(report)),
        findings(report.findings),
        overview(report, links),
        *(section(report, gate, links[gate.gate.name]) for gate in report.gates),
        _claims(report.claims, links),
        _foot(report),
    ]
    return f"{_head(report)}<body>\n<main>\n{''.join(part + chr(10) for part in body if part)}</main>\n</body>\n</html>\n"


@cache
def _style() -> str:
    return files("gates.report.html").joinpath("page.css").read_text(encoding="utf-8")


@cache
def policy() -> str:
    """The content security policy: our own style by its digest, an empty icon, nothing else."""
    style = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"


def _head(report: Report) -> str:
    title = f"{reading.VERDICTS[report.verdict]} · {report.plan.commit.short} · {report.plan.profile}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>{_style()}</style>\n</head>\n'
    )


def _top(report: Report, links: dict[str, str]) -> str:
    outcome = _OUTCOMES[report.verdict].value
    return (
        f'<header>\n<div class="top"><h1 class="{outcome}">{reading.VERDICTS[report.verdict]}</h1>'
        f'<p class="quiet">{text(reading.tally(report))}</p></div>\n'
        f'<p class="headline">{_headline(report, links)}</p>\n</header>'
    )


def _headline(report: Report, links: dict[str, str]) -> str:
    gate, colon, rest = report.headline.partition(":")
    if colon and gate in links:
        return f"<strong>{text(gate)}</strong>:{text(rest)}"
    return text(report.headline)


def _facts(shown: Iterable[Fact]) -> str:
    return f'<dl class="facts">{"".join(_fact(fact) for fact in shown)}</dl>'


def _fact(fact: Fact) -> str:
    aside = f"<dd>{text(fact.aside)}</dd>" if fact.aside else ""
    return f"<div><dt>{text(fact.label)}</dt><dd>{text(fact.value)}</dd>{aside}</div>"


def _claims(claims: Sequence[ClaimReport], links: dict[str, str]) -> str:
    if not claims:
        return ""
    rows = "".join(_claim(claim, links) for claim in claims)
    table = f'<table class="claims">{head(("verdict", "claim", "rests on"))}<tbody>{rows}</tbody></table>'
    return f'<section id="claims"><h2>Claims</h2>{scrolling(table, "Claims")}</section>'


def _claim(claim: ClaimReport, links: dict[str, str]) -> str:
    why = "" if claim.outcome is Outcome.PASS else f'<div class="quiet">{text(claim.reason)}</div>'
    rests = "<br>".join(_reference(key, links) for key in claim.claim.by)
    return f'<tr><td class="whole">{sign(claim.outcome)}</td><td>{text(claim.claim.say)}{why}</td><td>{rests}</td></tr>'


def _reference(key: str, links: dict[str, str]) -> str:
    anchor = links.get(key.partition(":")[0])
    return f'<a href="#{anchor}"><code>{text(key)}</code></a>' if anchor else f"<code>{text(key)}</code>"


def _foot(report: Report) -> str:
    plan = report.plan
    machine = "".join(f"<tr><td>{text(key)}</td><td>{text(value)}</td></tr>" for key, value in sorted(plan.fingerprint.items()))
    given = f"<p>overrides {', '.join(f'<code>{text(one)}</code>' for one in plan.overrides)}</p>" if plan.overrides else ""
    return (
        f"<footer><p>run <code>{text(plan.run)}</code> · spec <code>{text(plan.spec)}</code> "
        f'<span class="digest">{text(plan.spec_digest)}</span> · seed {plan.seed} · readiness-gates {text(plan.version)} · '
        f'<a href="readiness.json">readiness.json</a></p>{given}'
        f"<details><summary>Machine and build</summary><table><tbody>{machine}</tbody></table></details></footer>"
    )
