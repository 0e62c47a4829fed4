"""The linear models: few rows are fitted in the rows' own span, and say what they say column by column."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

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


@pytest.mark.parametrize("seed", range(4))
def test_columns_of_one_direction_are_one_column_that_says_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    few = rng.poisson(0.4, (30, 8)).astype(np.float32)
    many = csr_matrix(few[:, rng.integers(8, size=40)] * rng.uniform(0.5, 2.0, 40).astype(np.float32))
    joined = linear._joined(many)
    answers = rng.normal(size=joined.matrix.shape[1])
    assert joined.matrix.shape[1] <= 8
    assert np.allclose((joined.matrix @ joined.matrix.T).toarray(), (many @ many.T).toarray(), rtol=1e-4)
    assert np.allclose(joined.matrix @ answers, many @ (answers[joined.group] * joined.share), rtol=1e-4, atol=1e-4)
    assert np.isclose((answers**2).sum(), ((answers[joined.group] * joined.share) ** 2).sum())  # the penalty


def test_a_model_of_repeated_columns_says_what_it_said_when_each_was_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = [Vector(np.arange(12, dtype=np.int32), np.tile(rng.normal(size=4), 3).astype(np.float32)) for _ in range(60)]
    labels = [f"tool_{int(row.amounts[0] > 0) + int(row.amounts[1] > 0)}" for row in rows]
    one = fit_softmax(rows, 12, labels, np.ones(60), c=1.0)
    whole = lambda matrix: linear._Joined(matrix, np.arange(matrix.shape[1]), np.ones(matrix.shape[1]))  # noqa: E731
    monkeypatch.setattr(linear, "_joined", whole)
    each = fit_softmax(rows, 12, labels, np.ones(60), c=1.0)
    assert np.allclose(one.weights, each.weights, atol=0.02)
    assert np.abs(one.weights).max() > 0.5
