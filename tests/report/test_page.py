"""The page: complete in itself, whatever the result lacks, and whatever its texts contain."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.report.page import render_page, write_page

PAYLOADS = (
    '</script><script>document.title="owned"</script>',
    '"><img src=x onerror=document.title="owned">',
    "<svg/onload=document.title='owned'>",
    "' onmouseover='document.title=\"owned\"",
    '<a href="https://evil.example/">click</a>',
    "javascript:document.title='owned'",
    "<!-- ]]> \u2028 \u202e \x00 \x1b[31m \ud800",
)
VOID = {"meta", "input", "br"}


class Parsed(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def poisoned(value: Any, payload: str) -> Any:
    """The same result with the payload in every text and every free key."""
    if isinstance(value, str):
        return f"{value} {payload}"
    if isinstance(value, list):
        return [poisoned(item, payload) for item in value]
    if isinstance(value, dict):
        return {key: poisoned(item, payload) for key, item in value.items()}
    return value


def attack(result: dict[str, Any], payload: str) -> dict[str, Any]:
    bad: dict[str, Any] = poisoned(result, payload)
    bad["baselines"][payload] = bad["baselines"]["majority"]
    bad["versions"][payload] = payload
    bad["certificate"][payload] = payload
    bad["levels"]["0.93"]["by_action"][payload] = {"coverage": 0.1, "agreement": 0.9, "n": 3}
    bad["disagreements"][0] |= {"teacher": payload, "student": {"name": payload, "arguments": {payload: payload}}}
    return bad


def test_the_page_is_complete_and_well_formed(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(result, path)
    assert path.stat().st_size < 6_000_000
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["report.html"]
    page = Parsed(path.read_text(encoding="utf-8"))
    assert page.open == []
    identities = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(identities) == len(set(identities))
    targets = {str(a["href"])[1:] for tag, a in page.elements if tag == "a"}
    assert targets <= set(identities)


def test_nothing_is_loaded_from_anywhere(result: dict[str, Any]) -> None:
    text = render_page(result)
    page = Parsed(text)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "source"}
        assert not {"src", "srcset", "action", "background", "ping", "poster", "data"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    for style in re.findall(r"<style>(.*?)</style>", text, re.S):
        assert "url(" not in style
        assert "@import" not in style
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_the_headline_comes_first_and_in_plain_words(result: dict[str, Any]) -> None:
    words = Parsed(render_page(result)).words
    assert words.index("can take over about 60% of the teacher's tool calls") < words.index("Can it be trusted?")
    assert "at least 93% agree with the teacher, with 95% confidence" in words
    assert "Synthetic data" in words
    for fact in ("$38,142", "3.1 ms", "9.7 s", "94.7%", "nearest neighbour", "distill run", "7d1f0c53e2a94b60"):
        assert fact in words, fact


def test_a_refusal_says_how_much_more_is_needed(result: dict[str, Any]) -> None:
    for level in result["levels"].values():
        level.update(certified=False, certified_coverage=None, certified_agreement=None, more_units=52)
    result["data"]["kind"] = "teacher"
    words = Parsed(render_page(result)).words
    assert "Not certified yet: every request still goes to the teacher" in words
    assert "About 52 more tasks are needed" in words
    assert "Synthetic data" not in words
    assert "Saves in a year" not in words


def test_without_a_price_and_without_recurrence_nothing_is_shown_as_a_dash(result: dict[str, Any]) -> None:
    result["savings"] = {"calls_saved": 0.216, "audit_rate": 0.05, "basis": "give --price-per-call to see a sum"}
    result["recurring"] = {"share": 0.0, "agreement": None}
    words = Parsed(render_page(result)).words
    assert "21.6% of the requests" in words
    assert "a year" not in words
    assert "no test decision has a context that stood in the training data" in words
    assert "agrees in" not in words


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the 4.8 MB that are the same on every page."""
    monkeypatch.setattr("ultracore.distillation.report.page.get_plotlyjs", lambda: "/* plotly.js */")


def test_a_page_without_figures_needs_no_plotly() -> None:
    assert len(render_page({})) < 60_000


@pytest.mark.usefixtures("light")
def test_every_key_is_optional(result: dict[str, Any]) -> None:
    for key in result:
        Parsed(render_page({k: v for k, v in result.items() if k != key}))
    for key in result:
        assert Parsed(render_page({key: result[key]})).open == []


@pytest.mark.usefixtures("light")
def test_every_inner_key_is_optional(result: dict[str, Any]) -> None:
    for key, value in result.items():
        if isinstance(value, dict):
            for inner in value:
                render_page({**result, key: {k: v for k, v in value.items() if k != inner}})
            render_page({**result, key: dict.fromkeys(value) if key not in ("levels", "baselines") else {}})
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            render_page({**result, key: [{}, *value]})


@pytest.mark.parametrize("payload", PAYLOADS)
def test_untrusted_text_stays_text(result: dict[str, Any], payload: str) -> None:
    safe, attacked = Parsed(render_page(result)), Parsed(render_page(attack(result, payload)))
    assert attacked.open == []
    kinds = {(tag, *attributes) for tag, attributes in safe.elements}
    assert {(tag, *attributes) for tag, attributes in attacked.elements} <= kinds
    assert len(attacked.scripts) == len(safe.scripts) == 3
    assert attacked.scripts[1:] == safe.scripts[1:]
    figures = json.loads(attacked.scripts[0])
    assert "<" not in json.dumps([trace["y"] for trace in figures["per_tool"]["data"]])


def test_an_enormous_result_stays_small(result: dict[str, Any]) -> None:
    big = "<&\"'界" * 4_000
    result["disagreements"] = [
        {"teacher": [{"name": big, "arguments": {big: big}}] * 9, "context": [{"role": big, "text": big}] * 9}
    ] * 300
    result["errors"] = [{"reason": big, "lines": list(range(100_000))}] * 400
    result["per_tool"] = [{"tool": f"{i} {big}", "n": i, "whole_call": 0.5} for i in range(3000)]
    result["next_steps"] = [big] * 200
    assert len(render_page(result).encode()) < 6_000_000


def test_the_calibration_error_stands_beside_what_chance_alone_would_show(result: dict[str, Any]) -> None:
    assert "Expected calibration error: 2.1%." in render_page(result)
    result["test"]["ece_by_chance"] = {"mean": 0.011, "upper": 0.015, "upper_by_unit": 0.019}
    assert "error: 2.1%; with a perfect calibration 1.1% by chance alone, and up to 1.9%." in render_page(result)


def test_numbers_that_json_does_not_know_leave_gaps(result: dict[str, Any]) -> None:
    result["risk_coverage"]["agreement"][3] = float("nan")
    result["test"]["ece"] = float("inf")
    assert "NaN" not in Parsed(render_page(result)).scripts[0]


def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium: apt-get install chromium")
    return found


def opened(path: Path, profile: Path, *more: str) -> subprocess.CompletedProcess[str]:
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr"]
    command = [browser(), "--headless", *quiet, f"--user-data-dir={profile}", "--virtual-time-budget=8000", *more]
    return subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)


def test_a_real_browser_draws_it_and_runs_nothing_foreign(result: dict[str, Any], tmp_path: Path) -> None:
    path, shot = tmp_path / "report.html", tmp_path / "shot.png"
    bad = attack(result, PAYLOADS[0] + PAYLOADS[1] + PAYLOADS[4])
    bad["per_tool"][0]["tool"] = '<a href="http://evil.io">x</a>'  # Plotly would make a link of it
    write_page(bad, path)
    found = opened(path, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" not in found.stderr, found.stderr
    assert found.stdout.count('class="main-svg"') >= 5
    assert "Showing 20 of 120." in found.stdout
    assert "<title>owned" not in found.stdout
    assert not re.search(r"<a [^>]*evil", found.stdout)
    opened(path, tmp_path / "profile", f"--screenshot={shot}", "--window-size=420,1200")
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert shot.stat().st_size > 20_000
