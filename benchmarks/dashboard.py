"""How soon is the dashboard there, with a million decisions in the log?

The log is written by our own store, not encrypted, with the events that a gateway writes of each decision, over 90
days. The page is opened in the system's Chromium by a server whose figures were built before; every opening is of a
fresh server object and a fresh browser context. What this file does not know: what the page shows.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from benchmarks.data import MissingDataError
from benchmarks.log import timed
from benchmarks.sections import Section, Table, number
from benchmarks.traffic import lifecycle, traffic
from ultracore.distillation.dashboard.drill import Drill
from ultracore.distillation.dashboard.overview import Overview
from ultracore.distillation.dashboard.pages import page_endpoints
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.server import configure
from ultracore.distillation.settings import Settings

__all__ = ["measure_dashboard"]

DAYS = 90
APPEND = 5_000
OPENINGS = 20
FOREVER = 1e9


def measure_dashboard(*, quick: bool = False) -> Section:
    """Build the figures once, then open the page again and again."""
    n, openings = (2_000, 2) if quick else (1_000_000, OPENINGS)
    with tempfile.TemporaryDirectory() as folder, _chromium() as browser:
        settings = Settings(home=folder, port=0, redact="off", encrypt=False)
        store = open_store(Path(folder), settings)
        events = _write(store, n)
        first = timed(lambda: Overview(store, settings).read("default", patience=FOREVER))
        sizes = {name: _size(Path(folder), name) for name in ("log.db", "projections/live.db")}
        again = timed(lambda: Overview(store, settings).read("default", patience=FOREVER))
        answers = [_answer(store, settings, window) for window in ("24h", "30d", "all")]
        receipt = _latest(store, settings)
        traced = timed(lambda: Drill(store).follow("default", receipt, texts=True))
        shown = {
            window: [_open(browser, store, settings, window) for _ in range(openings)] for window in ("24h", "all")
        }
        store.close()
    figures = {
        "decisions": n, "events": events, "first_cpu_s": first.cpu, "again_wall_s": again.wall, "bytes": sizes,
        "answers": answers, "shown_ms": shown,
    }  # fmt: skip
    rows = [
        ["first build of the figures, CPU s", number(first.cpu), "1"],
        ["from a fresh start to all figures with bounds, s", number(again.wall, 2), "1"],
        *(
            [f"page shown, window {window}, median and worst, ms",
             f"{statistics.median(times):.0f} and {max(times):.0f}", str(len(times))]
            for window, times in shown.items()
        ),
        *([f"figures for window {w}, CPU ms", number(1000 * cpu), "1"] for w, cpu, _ in answers),
        *([f"figures for window {w}, kB of JSON", number(size / 1000), "1"] for w, _, size in answers),
        ["a decision traced to its training rows, s", number(traced.wall, 2), "1"],
        ["log, MB", number(sizes["log.db"] / 1e6), "-"],
        ["figures, MB", number(sizes["projections/live.db"] / 1e6), "-"],
    ]  # fmt: skip
    what = f"{n:,} made-up decisions of a gateway over {DAYS} days, {events:,} events"
    about = f"{what}; shown: from the navigation's start to the drawn figures"
    return Section("dashboard", about, [Table("Dashboard", ["what", "figure", "n"], rows)], figures=figures)


def _write(store: Any, n: int) -> int:
    start = datetime.now(UTC) - timedelta(days=DAYS)
    store.append(lifecycle(start))
    events = itertools.chain.from_iterable(traffic(n, start, timedelta(days=DAYS)))
    while batch := list(itertools.islice(events, APPEND)):
        store.append(batch)
    return int(store.last_position())


def _latest(store: Any, settings: Settings) -> str:
    recent = Overview(store, settings).read("default", patience=FOREVER)["recent"]
    return str(next(row["id"] for row in recent if row["source"] == "student"))


def _size(folder: Path, name: str) -> int:
    """With what waits in the write-ahead log."""
    return sum(file.stat().st_size for file in folder.glob(f"{name}*"))


def _answer(store: Any, settings: Settings, window: str) -> tuple[str, float, int]:
    view = Overview(store, settings)
    view.read("default", window, patience=FOREVER)
    began = time.process_time()
    value = msgspec.json.encode(view.read("default", window, patience=0.0))
    return window, time.process_time() - began, len(value)


def _open(browser: Any, store: Any, settings: Settings, window: str) -> float:
    """Milliseconds until the figures stand on the page, by the browser's own clock."""
    with _served(store, settings) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/#window={window}")
        page.wait_for_selector("#decisions table")
        shown = page.evaluate("performance.getEntriesByName('figures')[0].startTime")
        context.close()
    return float(shown)


@contextmanager
def _served(store: Any, settings: Settings) -> Iterator[str]:
    pages = page_endpoints([Overview(store, settings).page()])
    app = create_app(store=store, upstream=None, gate=None, settings=settings, more=pages, env={})
    server = uvicorn.Server(configure(app, settings, keyed=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@contextmanager
def _chromium() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise MissingDataError("needs chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
