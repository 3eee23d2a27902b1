"""The report as one HTML file, without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hostile import rewritten
from lxml import html as parser

from gates.model import (
    Evidence,
    Execution,
    GateReport,
    IntervalRow,
    Intervals,
    Limit,
    Line,
    Outcome,
    Quantiles,
    Report,
    Series,
    Table,
    Unit,
    Window,
)
from gates.report import github, html, junit, markdown, text
from gates.report.html import svg
from gates.report.html.exhibits import draw
from gates.report.html.gate import section
from gates.report.html.page import policy

LINKS = re.compile(r"(?:\./|#|readiness\.json$|data:,$|https?:|mailto:)")


def page(report: Report) -> parser.HtmlElement:
    """The page as a tree."""
    return parser.document_fromstring(html.render(report))


def words(element: parser.HtmlElement) -> str:
    """What an element says."""
    return " ".join(element.text_content().split())


def test_verdict_reason_and_facts_come_in_this_order(report: Report) -> None:
    """The first line is the verdict in words, the second the reason in one sentence, then the strip."""
    said = words(page(report).find("body"))
    assert said.startswith(
        "NOT READY7 of 9 gates pass · 1 fails · 1 is inconclusive primitives: ratio/breaker.call.closed is 3.81x"
    )
    assert said.index("it must be below 3x") < said.index("commit3f9c2ab") < said.index("tightest criterion")


def test_every_gate_has_a_row_with_sign_word_and_criterion(report: Report) -> None:
    """A sign, a word for those who can't see it, the value, the change, the time against the budget, the proof."""
    rows = page(report).xpath("//table[contains(@class,'by-plan')]/tbody/tr")
    assert len(rows) == 9
    assert (
        words(rows[1])
        == "✗fail primitives ratio/breaker.call.closed3.81x, limit < 3x3.81x (3.62x to 4.02x) < 3x+8 %41.2 s of 45 s2 days"
    )
    assert "over 60 s" in words(rows[4])


def test_the_reader_may_have_the_worst_first(report: Report, ready: Report) -> None:
    """Without a script; and without a choice where both orders are the same."""
    first = page(report).xpath("//table[contains(@class,'by-need')]/tbody/tr")[:2]
    assert [words(row).split()[1] for row in first] == ["primitives", "crash"]
    assert not page(ready).xpath("//input")


def test_what_needs_attention_stands_open_and_the_rest_folds(report: Report) -> None:
    """A section a gate; a link into a folded one opens it because its target lies inside."""
    sections = page(report).xpath("//details[@class='gate']")
    assert [words(one.find(".//h2")) for one in sections if one.get("open") is not None] == ["primitives", "crash"]
    for link in page(report).xpath("//a[starts-with(@href,'#')]/@href"):
        (target,) = page(report).xpath("//*[@id=$id]", id=link[1:])
        assert target.tag == "div"
        assert target.getparent().tag == "details"


def test_a_gate_that_a_need_kept_from_running_stays_folded(report: Report) -> None:
    """Its row says all that there is; a table of numbers that nobody measured would hide the gate that failed."""
    kept = replace(report.gates[5], execution=Execution.NOT_RUN, outcome=Outcome.INCONCLUSIVE)
    kept = replace(kept, gate=replace(kept.gate, needs=("primitives",)))
    assert '<details class="gate"><summary>' in section(report, kept, "gate-crash")
    by_itself = replace(kept, gate=replace(kept.gate, needs=("unit",)))
    assert '<details class="gate" open><summary>' in section(report, by_itself, "gate-crash")


def test_why_nothing_was_measured_is_said_once_and_not_for_every_criterion(report: Report) -> None:
    """A target that never got ready is one reason, not ten."""
    gate, reason = report.gates[2], "nothing accepts connections"
    none = [
        replace(c, measurements=(), outcome=Outcome.INCONCLUSIVE, reason=f"x was not measured: {reason}") for c in gate.criteria
    ]
    drawn = section(report, replace(gate, outcome=Outcome.INCONCLUSIVE, reason=reason, criteria=tuple(none)), "gate-x")
    assert drawn.count(reason) == 1


def test_every_figure_has_its_evidence_one_click_away(report: Report) -> None:
    """A relative link with size and digest."""
    row = page(report).xpath("//a[@href='./primitives/evidence/benchmarks.json']/ancestor::tr")[0]
    assert re.search(r"47 KiB[0-9a-f]{64}", words(row))


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "evidence/../../x"])
def test_evidence_outside_of_the_run_is_named_and_not_linked(report: Report, path: str) -> None:
    """A result can't make the report point somewhere else."""
    gate = report.gates[0]
    assert gate.result
    odd = replace(gate, result=replace(gate.result, evidence=(Evidence(path, 1, "00", "text/plain"),)))
    drawn = section(report, odd, "gate-unit")
    assert path in drawn
    assert "href" not in drawn


def test_what_to_do_is_there_to_paste(report: Report) -> None:
    """The gate's steps, explain, run again; in the form of the command that works where the run was started."""
    (steps, _) = page(report).xpath("//dl[@class='steps']")
    assert [words(one) for one in steps.findall("dd")] == [
        "pytest benchmarks/recovery -k breaker_call_closed --benchmark-only",
        "suspect: 3f9c2ab breaker: count slow calls in the window",
        "./noxw gates explain primitives:ratio/breaker.call.closed 20261123T150405Z-3f9c2ab-5c1e",
        "./noxw gates run --profile standard --set 'gates.burst.limit=60 s' --only primitives",
    ]


def test_earlier_attempts_and_claims_are_shown(report: Report) -> None:
    """Both attempts are kept; each claim has its verdict and links to what it rests on."""
    text = words(page(report))
    assert "the hypervisor took 18 % of the processor" in text
    assert "? inconclusiveNo acknowledged job is ever lost" in text
    assert page(report).xpath("//section[@id='claims']//a[@href='#gate-partition']")


def test_the_page_has_one_style_no_script_and_nothing_from_elsewhere(report: Report) -> None:
    """Self-contained, under a policy that names the digest of its style and allows nothing else."""
    tree = page(report)
    assert not tree.xpath("//script|//iframe|//object|//embed|//img|//form|//*[@style]|//*[@onclick]|//base")
    assert len(tree.xpath("//style")) == 1
    assert tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content") == [policy()]
    assert policy().startswith("default-src 'none'; style-src 'sha256-")
    assert all(LINKS.match(link) for link in tree.xpath("//@href"))
    assert "url(" not in tree.xpath("//style")[0].text
    assert "@import" not in tree.xpath("//style")[0].text


ATTACK = "\"'><script>alert(1)</script><img src=//h/x onerror=alert(1)>[a](javascript:alert(1)) <style>*{}</style>\u202e\x1b[2J"


def test_no_text_of_somebody_else_becomes_markup(report: Report) -> None:
    """Every free text of the report replaced by an attack: no element more than in the ordinary page, of any kind."""
    attacked = page(rewritten(report, lambda _: ATTACK))
    assert not attacked.xpath("//script|//img|//*[@onerror]")
    assert len(attacked.xpath("//style")) == 1
    assert all(LINKS.match(link) for link in attacked.xpath("//@href"))
    assert "\x1b" not in html.render(rewritten(report, lambda _: ATTACK))


@pytest.mark.parametrize("render", [html.render, markdown.render, junit.render, text.render, github.summary])
def test_a_lone_surrogate_can_be_written(report: Report, render: Callable[[Report], str]) -> None:
    """JSON can hold half a character; a file in UTF-8 can't."""
    render(rewritten(report, lambda written: written + "\ud800")).encode()


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    """Rendering is pure."""
    assert html.render(report) == html.render(report)


def test_every_picture_has_a_role_and_says_what_it_shows(report: Report) -> None:
    """Who can't see a plot hears its title, its lines and their range."""
    pictures = page(report).xpath("//*[local-name()='svg']")
    assert len(pictures) > 10
    assert all(one.get("role") == "img" and one.get("aria-label") and one.find("title") is not None for one in pictures)
    assert any("p99 from" in one.get("aria-label") for one in pictures)


def test_headings_descend_one_by_one(report: Report) -> None:
    """One h1, then h2 for sections, h3 inside."""
    levels = [int(one.tag[1]) for one in page(report).xpath("//h1|//h2|//h3|//h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_from_its_background(report: Report, scheme: int) -> None:
    """At least 4.5 to 1 on paper and on panels, in light and in dark."""
    style = page(report).xpath("//style")[0].text
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", style.split(":root {")[1 + scheme].split("}")[0]))
    for ink in ("ink", "quiet", "good", "bad", "unsure", "link", "c0", "c1", "c2", "c3", "c4", "c5"):
        for ground in ("paper", "panel") if ink in ("ink", "quiet") else ("paper",):
            lighter, darker = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, ground)


# --- plots ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(report: Report) -> GateReport:
    """Some gate for an exhibit to belong to."""
    return report.gates[0]


@pytest.mark.parametrize(
    "exhibit",
    [
        Series("nothing", Unit.SECONDS, ()),
        Series("no points", Unit.SECONDS, (Line("p99", ()),), logarithmic=True),
        Series("one point", Unit.SECONDS, (Line("p99", ((0.0, 0.1),)),), logarithmic=True),
        Series("only zeros", Unit.SECONDS, (Line("p99", ((0.0, 0.0), (1.0, 0.0))),), (Limit("limit", 0.0),), logarithmic=True),
        Series("below zero", Unit.RATIO, (Line("change", ((0.0, -0.5), (1.0, 0.5))),), (), (Window("all", -1, 9),)),
        Quantiles("no points", Unit.SECONDS, (Line("all", ()),)),
        Quantiles("certain", Unit.SECONDS, (Line("all", ((0.0, 1.0), (1.0, 1.0))),)),
        Intervals("nothing", Unit.FACTOR, ()),
        Intervals("a point", Unit.FACTOR, (IntervalRow("same", 1.0, 1.0, 1.0),), (Limit("limit", 1.0),)),
        Intervals("zero", Unit.COUNT, (IntervalRow("same", 0.0, 0.0, 0.0),)),
        Table("ragged", ("a", "b"), (("1",), ("1", "2", "3"))),
        Table("no rows", ("a",), ()),
    ],
)
def test_little_data_is_still_drawn(exhibit: object, gate: GateReport) -> None:
    """No division by zero, no coordinate that is not a number."""
    drawn = draw(exhibit, gate)  # type: ignore[arg-type]
    assert not re.search(r"nan|inf\b", drawn)
    parser.fragment_fromstring(drawn)


def test_thinning_keeps_every_peak() -> None:
    """Ten thousand points fit into 500 columns and the one that matters is among them."""
    points = [(float(x), 1.0) for x in range(10_000)]
    points[7_321] = (7_321.0, 99.0)
    kept = svg.thin(points, 500)
    assert len(kept) <= 1_100
    assert (7_321.0, 99.0) in kept
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.008, 0.3, [0.01, 0.02, 0.05, 0.1, 0.2]),
        (0.5, 5, [0.5, 1, 2, 5]),
        (1e-6, 10, [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10]),
    ],
)
def test_logarithmic_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    """1, 2, 5 in a few decades; the decades in many."""
    assert set(svg.log_ticks(low, high)) <= set(ticks)
    assert len(svg.log_ticks(low, high)) >= 2


def test_ticks_of_bytes_are_round_in_the_units_that_they_are_shown_in() -> None:
    """64 MiB rather than 47.7 MiB: as short as what is read of it, and inside the drawing."""
    mebi = 1024 * 1024
    assert svg.byte_ticks(0, 75 * mebi, 5) == [0, 32 * mebi, 64 * mebi]
    assert svg.byte_ticks(0, 340 * mebi, 5) == [0, 128 * mebi, 256 * mebi]
    assert svg.byte_ticks(0, 3, 5) == [0, 1, 2, 3]
    assert svg.byte_ticks(7, 7) == [7]


def test_labels_keep_apart_in_their_room() -> None:
    """Labels of lines that end together don't lie over each other."""
    places = svg.apart([50.0, 51.0, 52.0, 99.0], 14.0, 0.0, 100.0)
    ordered = sorted(places)
    assert all(after - before >= 13.9 for before, after in zip(ordered, ordered[1:], strict=False))
    assert max(places) <= 100.0


def test_a_percentile_has_its_colour_in_every_plot(gate: GateReport) -> None:
    """Whatever order the lines come in; other lines take what is free."""
    points = ((0.0, 1.0), (1.0, 2.0))
    for names in (("p50", "p99", "other"), ("p99", "other", "p50")):
        drawn = draw(Series("latency", Unit.SECONDS, tuple(Line(name, points) for name in names)), gate)
        colours = dict(re.findall(r'class="name (c\d)"[^>]*>(\w+)<', drawn))
        assert colours.keys() == {"c0", "c1", "c2"}
        assert (colours["c0"], colours["c1"]) == ("p99", "p50")
