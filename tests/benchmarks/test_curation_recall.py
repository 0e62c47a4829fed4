"""The benchmark of recall on a machine without a GPU says so; with one it counts a lost pair as lost."""

import numpy as np
import pytest
from benchmarks.curation_speed import THRESHOLD, planted
from benchmarks.data import Size

from benchmarks import curation_recall
from ultracore.distillation.curate.pairs import Pairs, find_pairs


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation_recall, "_has_cuda", lambda: False)
    section = curation_recall.measure_curation_recall(Size())
    assert "CUDA" in section.skipped
    assert not section.tables


def test_a_lost_pair_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = find_pairs(planted(400), THRESHOLD)
    keys = pairs.second.astype(np.int64) * 400 + pairs.first
    monkeypatch.setattr(curation_recall, "_exact_keys", lambda embeddings: iter([keys[:50], keys[50:]]))
    lossy = pairs.where(np.arange(len(keys)) != 7)
    for found, lost in ((pairs, 0), (lossy, 1)):

        def search(embeddings: object, threshold: float, found: Pairs = found) -> Pairs:
            return found

        monkeypatch.setattr(curation_recall, "find_pairs", search)
        row = curation_recall._compared(400)
        assert row[1:3] == [f"{len(keys)}", f"{len(keys) - lost}"]
        assert row[4] == "0"
