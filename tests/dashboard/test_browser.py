"""The page in a real browser: it shows the log's figures, by itself, to everybody, and runs nothing foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlparse

import pytest
from benchmarks.traffic import STUDENT, traffic

from ultracore.distillation.dashboard.figures import LiveFigures
from ultracore.distillation.dashboard.pages import Page, Source
from ultracore.distillation.dashboard.reading import overview
from ultracore.distillation.events import AgentDecisionEvent, AlertRaisedEvent, DatasetManifestEvent, Event, EventStore
from ultracore.distillation.events.projection import project
from ultracore.distillation.serve.keys import Scope, issue

from .conftest import DECISIONS, NOW

WIDE, NARROW = (1200, 900), (390, 844)
Serving = Callable[..., Any]


@contextmanager
def opened(browser: Any, url: str, size: tuple[int, int] = WIDE, refused: int = 0, **options: Any) -> Iterator[Any]:
    """A page whose console says nothing but refusals, and that asks nobody but loopback."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert [text for text in said if "401" not in text and "404" not in text] == []
    assert len(said) == refused  # a browser says each refusal
    assert {urlparse(url).hostname for url in asked} == {"127.0.0.1"}
    assert not [url for url in asked if "dk_" in url]


def settled(page: Any) -> None:
    """All of the log is read and shown."""
    page.wait_for_selector("#state >> text=Up to date")


def text_of(page: Any, selector: str) -> str:
    return " ".join(page.locator(selector).inner_text().split())


@pytest.mark.usefixtures("busy")
def test_it_shows_the_figures_of_the_log(serving: Serving, browser: Any, store: EventStore) -> None:
    expected = overview(project(store, LiveFigures()), "default", "24h", NOW, 0.93)
    totals = expected["totals"]
    with serving() as url, opened(browser, url) as page:
        settled(page)
        tiles = text_of(page, "#tiles-box")
        for words in (
            f"{totals['sent']} of {DECISIONS} decisions",
            f"{totals['agreement']:.1%}",
            f"{totals['coverage']:.1%}",
            f"{totals['calls_saved_share']:.1%}",
            f"${totals['dollars_saved']:.2f}",
        ):
            assert words in tiles, words
        assert STUDENT in text_of(page, "#hero")
        assert f"low confidence {next(r['n'] for r in expected['reasons'] if r['reason'] == 'low_confidence')}" in (
            text_of(page, "#reasons")
        )
        assert "revoked" in text_of(page, "#models")
        assert page.locator("#timeline li").count() == len(expected["timeline"])
        assert page.locator("#answers rect.sent").count() >= 20
        assert page.locator("#agreement circle").count() == sum(r["labelled"] > 0 for r in expected["series"])
        assert "Up to date" in text_of(page, "#state")


def test_it_follows_the_log_without_a_reload(serving: Serving, browser: Any, store: EventStore) -> None:
    with serving() as url, opened(browser, url) as page:
        page.wait_for_selector("#decisions")
        assert "No student answers" in text_of(page, "#hero")
        store.append(e for group in traffic(7, NOW, timedelta(0)) for e in group)
        page.wait_for_selector("#tiles-box >> text=of 7 decisions", timeout=9000)


@pytest.mark.usefixtures("busy")
def test_a_small_screen_needs_no_scrolling_sideways(serving: Serving, browser: Any) -> None:
    with serving() as url, opened(browser, url, NARROW) as page:
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]


@pytest.mark.usefixtures("busy")
def test_it_is_dark_where_the_reader_wants_it_dark(serving: Serving, browser: Any) -> None:
    def brightness(scheme: str) -> int:
        with opened(browser, url, color_scheme=scheme) as page:
            settled(page)
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return sum(map(int, colour[4:-1].split(",")))

    with serving() as url:
        assert brightness("dark") < 200 < 600 < brightness("light")


@pytest.mark.usefixtures("busy")
def test_the_keyboard_is_enough(serving: Serving, browser: Any) -> None:
    with serving() as url, opened(browser, url) as page:
        settled(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "window"
        page.keyboard.press("ArrowUp")
        page.wait_for_selector("#answers svg[aria-label*='last hour']")
        page.locator("#answers-table").focus()
        page.keyboard.press("Enter")
        assert page.locator("#answers details table").is_visible()


def test_hostile_names_stay_text(serving: Serving, browser: Any, store: EventStore) -> None:
    bad = '</script><script>document.title="owned"</script><img src=x onerror=document.title="owned">'
    serving_ = {"receipt": "r", "model_id": bad, "reason": bad, "confidence": 0.5}
    decision = AgentDecisionEvent.record(
        event_id="r", agent_id=bad, tool_selected=bad, serving=serving_, timestamp=NOW, source="teacher"
    )
    alert = AlertRaisedEvent.record(alert_id="a", name=bad, severity="critical", message=bad, timestamp=NOW)
    store.append([decision, alert])
    with serving() as url, opened(browser, url) as page:
        settled(page)
        assert bad in page.locator("#tools-section tbody th").inner_text()
        assert page.locator("img, main script").count() == 0
        assert page.title() == "Overview – distillation gateway"


@pytest.mark.usefixtures("busy")
def test_a_key_is_asked_for_once_and_never_in_an_address(serving: Serving, browser: Any, store: EventStore) -> None:
    key = issue("dashboard", Scope.READ)
    store.append([key.event])
    with serving() as url, opened(browser, url, refused=2) as page:
        page.wait_for_selector("#key")
        assert page.evaluate("document.activeElement.id") == "key"
        page.keyboard.type("dk_wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=This key is not accepted")
        page.keyboard.type(key.secret)
        page.keyboard.press("Enter")
        settled(page)
        page.reload()
        settled(page)
        assert page.evaluate("document.cookie + JSON.stringify({...localStorage})") == "{}"


def test_a_decision_opens_with_its_model_and_rows(
    serving: Serving, browser: Any, busy: list[Event], store: EventStore
) -> None:
    row = busy_rows(busy)[0]
    with serving() as url, opened(browser, url, refused=1) as page:
        settled(page)
        button = page.locator("#decisions tr:has-text('student') button").first
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        said = text_of(page, "dialog")
        for words in ("The student chose", STUDENT, "at least 93%", "d-2026", row[:12], "please"):
            assert words in said, words
        assert "decision=" in page.url
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog:not([open])", state="attached")
        assert "decision=" not in page.url
        assert page.evaluate("document.activeElement.className") == "link"
        page.fill("#receipt", "no-such-receipt")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog >> text=no such decision")


def busy_rows(busy: list[Event]) -> list[str]:
    return next(e.event_ids for e in busy if isinstance(e, DatasetManifestEvent))


def test_a_page_of_tables_needs_no_script_of_its_own(serving: Serving, browser: Any) -> None:
    part = {
        "title": "Versions",
        "note": "Of prompts.",
        "columns": ["prompt", "score"],
        "rows": [["<b>p-1</b>", 0.9312]],
    }
    page_ = Page(
        "/dashboard/prompts", "Prompts", Source("/dashboard/prompts.json", lambda key, _: {"sections": [part]})
    )
    with serving(page_) as url, opened(browser, url) as page:
        page.click("nav >> text=Prompts")
        page.wait_for_selector("main table")
        assert text_of(page, "main table tbody") == "<b>p-1</b> 0.931"
        assert page.locator("nav [aria-current]").inner_text() == "Prompts"
