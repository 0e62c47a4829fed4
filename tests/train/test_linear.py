"""The linear models: few rows are fitted in the rows' own span, and say what they say column by column."""

from __future__ import annotations

import numpy as np
import pytest

from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.train import linear
from ultracore.distillation.train.linear import fit_softmax

WIDTH, ROWS = 400, 60


def drawn(seed: int) -> tuple[list[Vector], list[str], np.ndarray]:
    """Rows of which some are equal and one is empty, labels that depend on their columns, and weights."""
    rng = np.random.default_rng(seed)
    rows = [
        Vector(np.sort(rng.permutation(WIDTH)[:20]).astype(np.int32), rng.random(20).astype(np.float32))
        for _ in range(ROWS - 11)
    ]
    rows += [*rows[:10], Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))]
    return (
        rows,
        ["abc"[int(row.columns[:5].sum()) % 3] if len(row.columns) else "a" for row in rows],
        rng.random(ROWS) + 0.5,
    )


@pytest.mark.parametrize("seed", range(3))
def test_few_rows_are_fitted_as_many_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels, weights = drawn(seed)
    few = fit_softmax(rows, WIDTH, labels, weights, c=1.0)
    monkeypatch.setattr(linear, "FEW_ROWS", 0)
    many = fit_softmax(rows, WIDTH, labels, weights, c=1.0)
    np.testing.assert_allclose(few.weights, many.weights, atol=0.02)
    assert np.abs(many.weights).max() > 0.2
    for row in drawn(seed + 10)[0]:
        assert few.softmax(row) == pytest.approx(many.softmax(row), abs=0.01)
