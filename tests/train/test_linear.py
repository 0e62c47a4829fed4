"""The linear models: found in the span of the rows, they are those that scikit-learn finds column by column."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.train import softmax
from ultracore.distillation.train.linear import fit_logistic, fit_softmax, matrix_of
from ultracore.distillation.train.softmax import fit_softmax_of

WIDTH, ROWS = 400, 60


def drawn(seed: int, actions: str) -> tuple[list[Vector], list[str], np.ndarray]:
    """Rows of which some are equal and one is empty, labels that depend on their columns, and weights."""
    rng = np.random.default_rng(seed)
    rows = [
        Vector(np.sort(rng.permutation(WIDTH)[:20]).astype(np.int32), rng.random(20).astype(np.float32))
        for _ in range(ROWS - 11)
    ]
    rows += [*rows[:10], Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))]
    return (
        rows,
        [actions[int(row.columns[:5].sum()) % len(actions)] if len(row.columns) else "a" for row in rows],
        rng.random(ROWS) + 0.5,
    )


@pytest.fixture(params=["products of rows", "sparse columns"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to multiply, and time enough to get to the end."""
    monkeypatch.setattr(softmax, "MOST_ROWS", 0 if request.param == "sparse columns" else 1000)
    monkeypatch.setattr(softmax, "TOLERANCE", 1e-9)
    monkeypatch.setattr(softmax, "ITERATIONS", 500)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("actions", ["ab", "abc", "abcdefgh"])
def test_it_finds_what_scikit_learn_finds(actions: str) -> None:
    rows, labels, weights = drawn(len(actions), actions)
    mine = fit_softmax(rows, WIDTH, labels, weights, c=0.8)
    theirs = LogisticRegression(C=0.8, max_iter=5000, tol=1e-9)
    matrix = matrix_of(rows, WIDTH)
    theirs.fit(matrix, np.array(labels), sample_weight=weights)
    assert mine.classes == list(theirs.classes_)
    shares = [list(mine.softmax(row).values()) for row in rows]
    np.testing.assert_allclose(shares, theirs.predict_proba(matrix), atol=1e-3)
    if len(actions) > 2:  # of two, scikit-learn keeps one column
        np.testing.assert_allclose(mine.weights.T, theirs.coef_, atol=2e-3)
    assert np.abs(mine.weights).max() > 0.1


def test_a_column_that_no_row_has_says_nothing_and_one_class_is_certain() -> None:
    rows, labels, weights = drawn(0, "abc")
    wider = fit_softmax(rows, WIDTH + 3, labels, weights, c=1.0)
    assert not wider.weights[WIDTH:].any()
    alone = fit_softmax(rows, WIDTH, ["a"] * ROWS, weights, c=1.0)
    assert alone.softmax(rows[0]) == {"a": 1.0}


@pytest.mark.parametrize("classes", range(2, 7))
def test_rows_that_are_all_alike_say_how_frequent_the_classes_are(classes: int) -> None:
    """The first gradient is nothing but rounding where classes are equally frequent; its square came out negative."""
    for seed in range(100):
        row = np.random.default_rng(seed).random((1, 8), np.float32)
        matrix = csr_matrix(np.repeat(row, classes * (1 + seed % 7), axis=0))
        labels = np.arange(matrix.shape[0]) % classes
        found = fit_softmax_of(matrix, labels, np.full(len(labels), 0.1 + seed / 50), c=0.7)
        scores = (matrix @ found.coefficients + found.intercepts)[0]
        assert scores == pytest.approx(np.full(classes, scores.mean()), abs=1e-5)


def test_what_differs_only_from_one_ranker_to_the_next_moves_no_confidence() -> None:
    """Four rankers of folds are all but certain of an argument, and the final one a little more so."""
    rng = np.random.default_rng(0)
    fold = np.arange(400) % 4
    says = rng.random(400)
    certain = np.log([0.994, 0.9942, 0.9944, 0.9946])[fold]
    labels = rng.random(400) < np.where(fold == 3, 0.6, 0.9) * says
    gate = fit_logistic(
        np.column_stack([says, certain]).astype(np.float32), labels.astype(np.float32), np.ones(400, np.float32)
    )
    folds, final = (gate.probabilities(np.array([[0.9, np.log(p)]], np.float32))[0] for p in (0.9946, 0.9966))
    assert final == pytest.approx(folds, abs=0.01)
