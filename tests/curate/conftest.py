"""Rows and vectors that the curation tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Row = dict[str, Any]


@pytest.fixture
def row() -> Callable[..., Row]:
    """A flat row, as a logger's history has it."""

    def make(text: str, tool: str = "search", event_id: str | None = None, **extra: Any) -> Row:
        return {
            "event_id": event_id or f"event of {text}",
            "context": {"request": text},
            "tools_available": [{"name": "search"}, {"name": "refund"}],
            "tool_selected": tool,
            "tool_parameters": {},
            **extra,
        }

    return make


@pytest.fixture
def clustered() -> Callable[..., NDArray[np.float32]]:
    """Unit rows with copies and near copies among them."""

    def make(rows: int, seed: int, dimensions: int = 8) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        centres = random.normal(size=(max(1, rows // 6), dimensions))
        noise = random.choice([0.0, 0.02, 0.2], size=(rows, 1)) * random.normal(size=(rows, dimensions))
        matrix = centres[random.integers(0, len(centres), rows)] + noise
        return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)

    return make
