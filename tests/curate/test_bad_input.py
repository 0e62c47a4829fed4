"""What may be wrong with rows and vectors: a clear error or a sane result, and no row lost in silence."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.curate import (
    SELECTORS,
    AdaptiveCaR,
    CaR,
    EmbeddingCache,
    SemDeDup,
    deduplicate_rows,
    embed_decisions,
    select_rows,
)
from ultracore.distillation.curate.pairs import find_pairs
from ultracore.distillation.errors import DataError

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 0.0])
def test_a_spoilt_vector_is_named_and_never_a_row_without_duplicates(spoilt: float, row: Make) -> None:
    E = np.eye(4, dtype=np.float32)
    E[2] *= spoilt if spoilt == 0 else 1
    E[2, 2] = spoilt
    rows = [row(str(n)) for n in range(4)]
    with pytest.raises(DataError, match="row 2"):
        find_pairs(E, 0.9)
    with pytest.raises(DataError, match="row 2"):
        deduplicate_rows(rows, E, 0.9)
    with pytest.raises(DataError, match="row 2"):
        select_rows(rows, E, 2)
    with pytest.raises(DataError, match="row 2"):
        asyncio.run(CaR().select_representatives(rows, E))
    with pytest.raises(DataError, match="row 2"):
        asyncio.run(SemDeDup().deduplicate(rows, lambda texts: E))


def test_one_embedding_too_few(row: Make) -> None:
    rows = [row(str(n)) for n in range(4)]
    with pytest.raises(DataError, match="4 rows, but 3 embeddings"):
        deduplicate_rows(rows, np.eye(3, dtype=np.float32), 0.9)
    with pytest.raises(DataError, match="4 decisions"):
        select_rows(rows, np.eye(3), 2)


@pytest.mark.parametrize("name", sorted(SELECTORS))
@pytest.mark.parametrize("n", [1, 7])
def test_one_row_and_rows_that_are_all_the_same(name: str, n: int, row: Make) -> None:
    rows = [row("the same", event_id=f"e{i}") for i in range(n)]
    chosen = select_rows(rows, embed_decisions(rows), 3, name)
    assert len(chosen) == min(3, n)
    assert sum(item["weight"] for item in chosen) == pytest.approx(n)
    kept, stats = asyncio.run(SemDeDup().deduplicate(rows))
    assert ([item["weight"] for item in kept], stats["duplicates_removed"]) == ([n], n - 1)


@pytest.mark.parametrize("car", [CaR(50, 2), AdaptiveCaR(2)])
def test_more_clusters_than_rows(car: CaR, row: Make) -> None:
    rows = [row(str(n), event_id=f"e{n}") for n in range(3)]
    chosen, stats = asyncio.run(car.select_representatives(rows, np.eye(3)))
    assert stats["cluster_count"] <= 3
    assert sum(item["weight"] for item in chosen) == 3


def test_huge_and_empty_texts_side_by_side(row: Make) -> None:
    rows = [
        row("order 17 is late " * 60_000, event_id="huge"),
        row("", event_id="empty"),
        row("\ud800", event_id="half"),
    ]
    E = embed_decisions(rows)
    assert np.allclose(np.linalg.norm(E, axis=1), 1, atol=1e-5)
    kept, _ = asyncio.run(SemDeDup().deduplicate(rows))
    assert [item["event_id"] for item in kept] == ["huge", "empty", "half"]


def test_an_encoder_that_fails_half_way_is_asked_only_for_the_rest(row: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultracore.distillation.curate.cache.BATCH", 2)
    asked: list[str] = []

    def encoder(texts: list[str]) -> Any:
        if len(asked) == 4:
            asked.append("failed")
            raise OSError("no more credit")
        asked.extend(texts)
        return np.array([[np.cos(len(text)), np.sin(len(text))] for text in texts])

    dedup, rows = SemDeDup(1.0, cache=EmbeddingCache()), [row("x" * n, event_id=f"e{n}") for n in range(6)]
    with pytest.raises(OSError, match="no more credit"):
        asyncio.run(dedup.deduplicate(rows, encoder))
    kept, _ = asyncio.run(dedup.deduplicate(rows, encoder))
    assert len(asked) == 4 + 1 + 2
    assert len(kept) == 6
