"""A log of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ultracore.distillation.events.sqlite import SqliteEventStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteEventStore]:
    log = SqliteEventStore(tmp_path / "log.db")
    yield log
    log.close()
