"""The page of the prompts in a real browser: the tree, the curve, one version's text for those who may read it."""

from __future__ import annotations

from typing import Any

import pytest

from ultracore.distillation.dashboard.prompts import prompts_page
from ultracore.distillation.events import EventStore, PromptsOptimizedEvent
from ultracore.distillation.optimize.journal import Journal
from ultracore.distillation.optimize.versions import choose, find_version
from ultracore.distillation.serve.keys import Scope, issue

from .conftest import NOW
from .test_browser import NARROW, Serving, opened, text_of

HOSTILE = '</script><img src=x onerror=document.title="owned">'


@pytest.fixture
def versions(store: EventStore) -> list[str]:
    """A first prompt, two that came of it, and one of the second; the last is in use and was tested."""
    journal = Journal(store, "r", "support", clock=lambda: NOW)
    first = journal.version("Choose a tool.", None, "given", 0.42, 20, "given")
    left = journal.version("Choose a tool.\nbe brief", first, "gepa", 0.5, 20, "notes on the mistakes")
    right = journal.version("Choose a tool.\n" + HOSTILE, first, "gepa", 0.6, 20, HOSTILE)
    last = journal.version("Choose a tool.\nrefund: money back", right, "gepa", 0.75, 20, "notes on the mistakes")
    tested = PromptsOptimizedEvent.record(
        agent_ids=["support"], optimization_method="gepa", iteration=3, accuracy_before=0.4, accuracy_after=0.71,
        improvement=0.31, run_id="r", prompt_id=last, clock=lambda: NOW,
    )  # fmt: skip
    store.append([tested])
    choose(store, find_version(store, last))
    return [first, left, right, last]


def test_it_draws_the_tree_and_the_curve(
    serving: Serving, browser: Any, store: EventStore, versions: list[str]
) -> None:
    with serving(prompts_page(store)) as url, opened(browser, url + "/prompts") as page:
        page.wait_for_selector("#versions tbody tr")
        assert page.locator("#tree circle").count() == 4
        assert page.locator("#tree path.edge").count() == 3
        drawn = page.locator("#tree text").all_text_contents()
        first, left, right, last = (version[:8] for version in versions)
        assert [text.split()[0] for text in drawn] == [first, left, right, last], "depth first"
        assert drawn[3] == f"{last} · 75.0% on selection, 71.0% on test · in use"
        assert page.locator("#tree circle.used").count() == 1
        depths = [float(c.get_attribute("cx")) for c in page.locator("#tree circle").all()]
        assert depths[0] < depths[1] == depths[2] < depths[3]
        heights = [float(c.get_attribute("cy")) for c in page.locator("#curve circle.point").all()]
        assert heights == sorted(heights, reverse=True)
        assert len(set(heights)) == 4, "better is higher"
        assert page.locator("#curve circle.used").count() == 1
        assert "in use" in text_of(page, "#versions tbody tr:first-child")
        assert "Prompts" in text_of(page, "nav a[aria-current]")
        assert page.title() == "Prompts – distillation gateway"


def test_a_version_opens_with_its_text_and_what_changed(
    serving: Serving, browser: Any, store: EventStore, versions: list[str]
) -> None:
    with serving(prompts_page(store)) as url, opened(browser, url + "/prompts") as page:
        page.locator(f"#of-{versions[3]}").click()
        assert "refund: money back" in text_of(page, "dialog pre:first-of-type")
        assert "+refund: money back" in text_of(page, "dialog pre.changes")
        page.locator("dialog button.close").click()
        page.locator(f"#of-{versions[2]}").click()
        page.wait_for_selector(f"dialog >> text={versions[2]}")
        assert HOSTILE in page.locator("dialog pre").first.inner_text()
        assert page.locator("img").count() == 0


def test_texts_are_for_admins(serving: Serving, browser: Any, store: EventStore, versions: list[str]) -> None:
    key = issue("dashboard", Scope.READ)
    store.append([key.event])
    with serving(prompts_page(store)) as url, opened(browser, url + "/prompts", refused=1) as page:
        page.locator("#key").fill(key.secret)
        page.keyboard.press("Enter")
        page.locator(f"#of-{versions[3]}").click()
        page.wait_for_selector("dialog >> text=scope admin")
        assert page.locator("dialog pre").count() == 0


def test_an_empty_log_and_a_small_screen_are_fine(serving: Serving, browser: Any, store: EventStore) -> None:
    with serving(prompts_page(store)) as url, opened(browser, url + "/prompts", NARROW) as page:
        page.wait_for_selector("#versions")
        assert "There are none yet" in text_of(page, "#tree")
        Journal(store, "r", clock=lambda: NOW).version("x" * 300, None, "given", None, None, "long " * 40)
        page.wait_for_selector("#tree circle", timeout=9000)
        assert "needs two versions" in text_of(page, "#curve")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
