"""A scripted run, and ways to falsify what it left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultracore.distillation import loop
from ultracore.distillation.events import Event
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.teachers.scripted.traces import conversations


class Run(NamedTuple):
    home: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run on fourteen conversations; its trace file is gone afterwards."""
    folder = tmp_path_factory.mktemp("run")
    traces = folder / "traces.jsonl"
    traces.write_text("".join(json.dumps(line) + "\n" for line in conversations(14, seed=3)), encoding="utf-8")
    result = loop.run([traces], folder / "home")
    traces.unlink()
    open_store(folder / "home").close()
    return Run(folder / "home", result)


Change = Callable[[dict[str, Any]], dict[str, Any] | None]


@pytest.fixture
def rewritten(run: Run, tmp_path: Path) -> Iterator[Callable[[Change], tuple[SqliteEventStore, Path]]]:
    """The run's home with every event changed, or dropped, as a function says."""
    stores: list[SqliteEventStore] = []

    def rewrite(change: Change) -> tuple[SqliteEventStore, Path]:
        home = tmp_path / f"rewritten-{len(stores)}"
        shutil.copytree(run.home / "models", home / "models")
        original = SqliteEventStore(run.home / "log.db")
        values = [changed for event in original.read() if (changed := change(event.to_dict())) is not None]
        original.close()
        store = SqliteEventStore(home / "log.db")
        stores.append(store)
        store.append([Event.from_dict(value) for value in values])
        return store, home

    yield rewrite
    for store in stores:
        store.close()
