"""`distill top`: the page's figures in a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from benchmarks.traffic import STUDENT, lifecycle, traffic
from click.testing import CliRunner

from ultracore.distillation.cli import main
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.settings import load_settings


@pytest.fixture
def busy(home: Path) -> None:
    store = open_store(home, load_settings())
    now = datetime.now(UTC)
    store.append(lifecycle(now - timedelta(hours=2)))
    store.append(e for group in traffic(200, now - timedelta(hours=2), timedelta(hours=2)) for e in group)
    store.close()


def top(*words: str) -> str:
    done = CliRunner(env={"COLUMNS": "140"}).invoke(main, ["top", "--once", *words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("busy")
def test_it_prints_the_figures() -> None:
    found = json.loads(top("--json"))
    assert found["totals"]["decisions"] == 200
    assert found["log"]["position"] == found["log"]["last"]
    said = top()
    for words in (
        STUDENT,
        f"{found['totals']['sent']} of 200 decisions",
        "low_confidence",
        "get_balance",
        "answers now",
    ):
        assert words in said, words


@pytest.mark.usefixtures("busy")
def test_another_tenant_sees_nothing() -> None:
    assert json.loads(top("--json", "--tenant", "acme"))["totals"]["decisions"] == 0
    assert "no student answers" in top("--tenant", "acme")


def test_without_a_log_it_says_where_it_looked() -> None:
    done = CliRunner().invoke(main, ["top", "--once"])
    assert done.exit_code == 2
    assert "no decision log" in done.output
