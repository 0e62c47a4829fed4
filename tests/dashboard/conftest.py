"""A gateway with the dashboard's pages over a log of made-up traffic, and a browser to look at them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from benchmarks.traffic import lifecycle, traffic

from ultracore.distillation.dashboard.overview import Overview
from ultracore.distillation.dashboard.pages import Page, page_endpoints
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.server import configure
from ultracore.distillation.settings import Settings

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
DECISIONS = 600


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """An empty log."""
    opened = open_store(tmp_path / "home", Settings(home=str(tmp_path / "home")))
    yield opened
    opened.close()


@pytest.fixture
def busy(store: EventStore) -> list[Event]:
    """The events of a day's traffic, which are in the log."""
    events = [event for group in traffic(DECISIONS, NOW - timedelta(hours=23), timedelta(hours=23)) for event in group]
    events = [*lifecycle(NOW - timedelta(hours=20), rows=[events[0].metadata.event_id]), *events]
    store.append(events)
    return events


@pytest.fixture
def serving(store: EventStore, tmp_path: Path) -> Callable[..., Any]:
    """Serves the pages; gives their address."""
    return lambda *more, **env: served(store, tmp_path / "home", more, env)


@contextmanager
def served(store: EventStore, home: Path, more: tuple[Page, ...], env: dict[str, str]) -> Iterator[str]:
    settings = Settings(home=str(home), port=0)
    pages = [Overview(store, settings, lambda: NOW).page(), *more]
    app = create_app(store=store, upstream=None, gate=None, settings=settings, more=page_endpoints(pages), env=env)
    server = uvicorn.Server(configure(app, settings, keyed=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < until, "the server did not start in time"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium; while it is open no other event loop can run in this thread."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test installs it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()
