import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.curate import EmbeddingCache, SemDeDup, cache
from ultracore.distillation.errors import DataError

Row = dict[str, Any]


class Encoder:
    """As model2vec and sentence-transformers have it; may fail after so many texts."""

    def __init__(self, name: str, fails_after: int | None = None) -> None:
        self.name, self.fails_after = name, fails_after
        self.seen: list[str] = []

    def encode(self, texts: list[str]) -> Any:
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            raise ConnectionError("the encoder went away")
        self.seen += texts
        return np.array([[len(text), 1.0 + text.count("1"), 2.0] for text in texts])


def embed(kept: EmbeddingCache, rows: list[Row], encoder: Any) -> Any:
    return asyncio.run(kept.embed(rows, encoder))


@pytest.fixture
def rows(row: Callable[..., Row]) -> list[Row]:
    return [row(f"request {i}") for i in range(12)]


@pytest.mark.parametrize("in_a_file", [False, True])
def test_what_was_embedded_before_a_failure_is_not_lost(
    rows: list[Row], tmp_path: Path, in_a_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BATCH", 5)
    file = tmp_path / "embeddings.db" if in_a_file else None
    kept, encoder = EmbeddingCache(file), Encoder("e", fails_after=10)
    with pytest.raises(ConnectionError):
        embed(kept, rows, encoder)
    assert len(encoder.seen) == 10
    encoder.fails_after = None
    again = EmbeddingCache(file) if in_a_file else kept  # as another process would
    E = embed(again, rows, encoder)
    assert len(encoder.seen) == 12
    assert np.array_equal(E, embed(EmbeddingCache(), rows, Encoder("e")))


def test_two_encoders_have_vectors_of_their_own(rows: list[Row], tmp_path: Path) -> None:
    kept = EmbeddingCache(tmp_path / "embeddings.db")
    encoders = [Encoder("one"), Encoder("two")]
    for encoder in encoders:
        embed(kept, rows, encoder)
        embed(kept, rows[::-1], encoder)
    assert [len(encoder.seen) for encoder in encoders] == [12, 12]


def test_clearing_forgets_the_file_too(rows: list[Row], tmp_path: Path) -> None:
    kept, encoder = EmbeddingCache(tmp_path / "embeddings.db"), Encoder("e")
    embed(kept, rows, encoder)
    kept.clear()
    assert len(kept) == 0
    embed(kept, rows, encoder)
    assert len(encoder.seen) == 24


def test_vectors_of_two_lengths_are_an_error(rows: list[Row]) -> None:
    kept, sizes = EmbeddingCache(), iter([3, 4])

    def changes(texts: list[str]) -> Any:
        return np.ones((len(texts), next(sizes)))

    embed(kept, rows[:6], changes)
    with pytest.raises(DataError, match="one length"):
        embed(kept, rows, changes)


def test_an_object_with_encode_is_an_embedding_function(rows: list[Row]) -> None:
    kept, stats = asyncio.run(SemDeDup(1.0).deduplicate([rows[0], rows[0], rows[11]], Encoder("e")))
    assert len(kept) == 2
    assert stats["exact_duplicates"] == 1


def test_masked_states_have_vectors_of_their_own(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "embeddings.db"
    plain = embed(EmbeddingCache(file), rows, None)
    masked = embed(EmbeddingCache(file, masked=("context",)), rows, None)
    assert len(np.unique(plain, axis=0)) == 12
    assert len(np.unique(masked, axis=0)) == 1
