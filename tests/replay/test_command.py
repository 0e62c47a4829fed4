"""`distill replay` as a person runs it, and as it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.cli import main
from ultracore.distillation.events.sqlite import SqliteEventStore


def distill(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words], prog_name="distill")
    return stop.value.code, capsys.readouterr().out


@pytest.fixture
def copy(run: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.home, tmp_path / "copy"))


def test_the_last_model_is_replayed_and_the_conclusion_says_what_was_shown(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out = distill(capsys, "replay", "--home", copy)
    assert code == 0
    assert "The same bytes, in the same environment." in out
    assert out.count("same") >= 6


def test_a_difference_is_a_non_zero_exit_code(copy: Path, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "models" / run.result["model_id"] / "config.json").write_text("{}")
    code, out = distill(capsys, "replay", run.result["model_id"], "--home", copy, "--json")
    assert code == 1
    checks = {check[0]: check[3] for check in json.loads(out)["checks"]}
    assert (checks["files at hand"], checks["model"]) == ("different", "same")


def test_a_kill_in_the_middle_leaves_nothing_behind(copy: Path) -> None:
    before = {path: path.read_bytes() for path in (copy / "models").rglob("*") if path.is_file()}
    words = [sys.executable, "-c", "from ultracore.distillation.cli import main; main()", "replay", "--home", str(copy)]
    for seconds in (1.5, 2.5):
        replaying = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        os.kill(replaying.pid, signal.SIGKILL)
        replaying.wait()
    assert {path: path.read_bytes() for path in (copy / "models").rglob("*") if path.is_file()} == before
    log = SqliteEventStore(copy / "log.db")
    assert [event.metadata.position for event in log.read()] == list(range(1, log.last_position() + 1))
    assert not [path.name for path in copy.rglob("*") if "draft" in path.name or "replay" in path.name]
    log.close()
