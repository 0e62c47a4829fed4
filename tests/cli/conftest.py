"""Running the command line in this process, and small files of traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultracore.distillation.cli import main
from ultracore.distillation.teachers.scripted.traces import conversations


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Distill = Callable[..., Outcome]
Line = dict[str, Any]


@pytest.fixture
def distill(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Distill:
    """Run `distill WORDS...` with the test's folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words], prog_name="distill")
        out, err = capfd.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return run


@pytest.fixture(scope="session")
def lines() -> list[Line]:
    """Thirty conversations of the scripted bank."""
    return list(conversations(30, seed=3))


@pytest.fixture
def traces(tmp_path: Path, lines: list[Line]) -> Path:
    return write(tmp_path / "traces.jsonl", lines)


def write(file: Path, lines: list[Line]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


@pytest.fixture
def write_lines() -> Callable[[Path, list[Line]], Path]:
    return write
