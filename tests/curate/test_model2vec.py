"""A real `StaticModel`, made here of a few words, is an embedding function; nothing is downloaded."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.curate import EmbeddingCache, SemDeDup, embed_decisions

model2vec = pytest.importorskip("model2vec", reason="pip install 'ultracore-distillation[model2vec]'")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ("[UNK]", "context", "text", "refund", "money", "flight")
VECTORS = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0.1, 0], [1, 0, 0], [0, 1, 0]], np.float32)


@pytest.fixture
def model() -> Any:
    """Knows that a refund is money, and a flight is not."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return model2vec.StaticModel(VECTORS, tokenizer)


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"context": {"text": text}, "tool_selected": "pay"} for text in texts]


def test_a_static_model_embeds_states(model: Any) -> None:
    E = embed_decisions(rows("refund", "money", "flight"), embedding_function=model)
    assert E.shape == (3, 3)
    assert E[0] @ E[1] > 0.8 > E[0] @ E[2]


def test_duplicates_are_those_of_the_model_and_are_embedded_once(model: Any, tmp_path: Path) -> None:
    given = rows("refund", "money", "flight", "refund")
    for _ in range(2):  # the second time from the file
        cache = EmbeddingCache(tmp_path / "embeddings.db")
        kept, stats = asyncio.run(SemDeDup(0.9, cache=cache).deduplicate(given, model))
        assert [row["context"]["text"] for row in kept] == ["refund", "flight"]
        assert stats["exact_duplicates"] == 1
    assert len(cache) == 3
