"""The page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gates.model import Report
from gates.report.render import render_all

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.needs("chromium", "apt-get install chromium"),
    pytest.mark.needs("libatomic.so.1", "apt-get install libatomic1"),  # playwright's driver is linked against it
    pytest.mark.end_to_end,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's own Chromium."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rendered page on disk."""
    folder = tmp_path_factory.mktemp("run")
    return next(path for path in render_all(report, folder) if path.suffix == ".html").as_uri()


@contextmanager
def opened(browser: Browser, address: str, width: int = 1040, height: int = 1420, scheme: str = "light") -> Iterator[Page]:
    """The page in a window of that size, in a context without scripts of ours."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, address: str) -> None:
    """One request, the file itself; no message on the console, so nothing broke the policy."""
    context = browser.new_context()
    page = context.new_page()
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(address, wait_until="networkidle")
    context.close()
    assert (requests, messages) == ([address], [])


def test_the_verdict_is_what_is_seen_first(browser: Browser, address: str) -> None:
    """It stands at the top, larger than everything else, and the reason is on the first screen."""
    with opened(browser, address) as page:
        box = page.locator("h1").bounding_box()
        assert box
        assert box["y"] < 60
        assert page.locator("h1").inner_text() == "NOT READY"
        assert page.locator(".headline").is_visible()
        sizes = page.evaluate("[...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize))")
        assert max(sizes) == page.evaluate("parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)")


@pytest.mark.parametrize("width", [320, 360, 768, 1040])
def test_the_page_never_scrolls_sideways(browser: Browser, address: str, width: int) -> None:
    """Not on a phone, with every section open; what is wide scrolls by itself."""
    with opened(browser, address, width, 800) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_gets_plots_drawn_for_it(browser: Browser, address: str) -> None:
    """One of the two drawings is shown, so that its words stay readable."""
    with opened(browser, address, 360, 800) as page:
        shown = page.evaluate("[...document.querySelectorAll('details[open] .plot')].filter(e => e.checkVisibility()).length")
        assert shown == page.locator("details[open] .plot.narrow").count() > 0


def test_a_phone_shows_what_a_claim_rests_on(browser: Browser, address: str) -> None:
    """Below the claim, not beyond the edge of the screen."""
    with opened(browser, address, width=360) as page:
        edges = page.locator("#claims a").evaluate_all("links => links.map(link => link.getBoundingClientRect().right)")
    assert edges
    assert max(edges) <= 360


def test_dark_is_dark_and_light_is_light(browser: Browser, address: str) -> None:
    """By the reader's setting, plots included."""
    grounds, lines = {}, {}
    for scheme in ("light", "dark"):
        with opened(browser, address, scheme=scheme) as page:
            grounds[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            lines[scheme] = page.evaluate("getComputedStyle(document.querySelector('.point.fail')).fill")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}
    assert lines["light"] != lines["dark"]


def test_the_order_of_gates_is_the_readers_choice(browser: Browser, address: str) -> None:
    """A click shows the other table, without a script."""
    with opened(browser, address) as page:
        first = ".gates:visible tbody tr:first-child a"
        assert page.locator(first).inner_text() == "unit"
        page.get_by_label("worst first").check()
        assert page.locator(first).inner_text() == "primitives"


def test_a_link_to_a_folded_gate_opens_it(browser: Browser, address: str) -> None:
    """From the table of gates to what was done."""
    with opened(browser, address) as page:
        assert not page.locator("#gate-partition").is_visible()
        page.locator(".by-plan a[href='#gate-partition']").click()
        page.locator("#gate-partition").wait_for(state="visible")


def test_print_shows_every_section_on_white(browser: Browser, address: str) -> None:
    """Folded sections are on paper too, and dark readers print dark on white."""
    with opened(browser, address, scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator("#gate-partition").evaluate("e => e.checkVisibility({contentVisibilityAuto: true})")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator(".orders").is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_file_is_what_render_all_names(report: Report, tmp_path: Path) -> None:
    """Three renderings beside readiness.json, and no half-written file."""
    written = render_all(report, tmp_path)
    assert [path.name for path in written] == ["report.md", "report.html", "report.junit.xml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
