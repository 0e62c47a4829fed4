"""What must outlast a power cut is synced: a line, the name of its file, and the name of a new model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ultracore.distillation.events.line_file import append_line
from ultracore.distillation.events.sync import sync
from ultracore.distillation.students.artefact import write_artefact


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes, in the order in which they were synced."""
    found: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: found.append(os.fstat(descriptor).st_ino))
    return found


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_a_file_and_a_folder(synced: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sync(tmp_path / "file")
    sync(tmp_path)
    assert synced == [inode(tmp_path / "file"), inode(tmp_path)]


def test_a_line_and_once_the_name_of_its_file(synced: list[int], tmp_path: Path) -> None:
    for line in (b"one", b"two"):
        append_line(tmp_path / "lines", line)
    file = inode(tmp_path / "lines")
    assert synced == [file, inode(tmp_path), file]


def test_a_models_files_and_then_its_name(synced: list[int], tmp_path: Path) -> None:
    write_artefact(tmp_path / "model", "compact", {}, {"a": np.zeros(1, np.float32)})
    assert set(synced[:-1]) == {inode(file) for file in (tmp_path / "model").iterdir()}
    assert synced[-1] == inode(tmp_path)
