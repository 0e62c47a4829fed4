"""A training that raises, hangs, dies or eats memory ends, and says how; the loop's process goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ultracore.distillation.autonomy.child import ChildBackend, ChildError
from ultracore.distillation.autonomy.rules import Limits, PromotionRules
from ultracore.distillation.errors import LogError
from ultracore.distillation.settings import Settings


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    )

    def make(misdeed: str, seconds: float = 60.0) -> ChildBackend:
        settings = Settings(home=str(tmp_path), tenant=misdeed)
        limits = Limits(seconds=seconds, megabytes=1024)
        return ChildBackend(settings, PromotionRules(), limits, backend="shop:Misbehaving")

    return make


def test_what_it_found_comes_back_whatever_libraries_print(child) -> None:
    assert child("talks").train() == {"status": "trained"}


@pytest.mark.parametrize(
    ("misdeed", "said"),
    [
        ("raises", "train: failed: ValueError"),
        ("foreseen", "train: no labelled decision"),
        ("eats", "train: asked for more memory than it may have"),
        ("dies", "train: killed by signal 9"),
    ],
)
def test_how_it_failed_is_said_without_anybodys_data(child, misdeed: str, said: str) -> None:
    with pytest.raises(ChildError) as error:
        child(misdeed).train()
    assert str(error.value) == said


def test_that_the_log_was_away_is_no_word_on_the_work(child) -> None:
    with pytest.raises(LogError, match=r"compare: the decision log cannot be read"):
        child("no log").compare()


def test_one_that_hangs_is_ended(child) -> None:
    began = time.monotonic()
    with pytest.raises(ChildError, match=r"compare: ended after 1\.5 s"):
        child("hangs", seconds=1.5).compare()
    assert time.monotonic() - began < 60
