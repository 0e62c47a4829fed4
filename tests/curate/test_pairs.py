from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ultracore.distillation.curate import kmeans as module
from ultracore.distillation.curate.pairs import TOLERANCE, Pairs, find_pairs
from ultracore.distillation.errors import DataError

Make = Callable[..., NDArray[np.float32]]
sizes, seeds, thresholds = st.integers(0, 60), st.integers(0, 10_000), st.floats(0.3, 1.0)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def brute_force(E: NDArray[np.float32], threshold: float) -> set[tuple[int, int]]:
    S = E.astype(np.float64) @ E.T.astype(np.float64)
    reached = threshold - TOLERANCE <= S
    first, second = np.nonzero(np.triu(reached, 1))
    near_the_edge = np.abs(S[first, second] - threshold + TOLERANCE) < 1e-12
    return set(zip(first[~near_the_edge].tolist(), second[~near_the_edge].tolist(), strict=True))


@relaxed
@given(sizes, seeds, thresholds, st.integers(1, 12), st.sampled_from([2, 8, 90]))
def test_exactly_the_pairs_of_brute_force_whatever_the_cells(
    clustered: Make, rows: int, seed: int, threshold: float, cells: int, dimensions: int
) -> None:
    E = clustered(rows, seed, dimensions)
    pairs = find_pairs(E, threshold, cells=cells)
    assert as_set(pairs) >= brute_force(E, threshold)
    assert (pairs.similarity >= threshold - TOLERANCE).all()
    exact = np.einsum("ij,ij->i", E[pairs.first], E[pairs.second], dtype=np.float64)
    assert pairs.similarity == pytest.approx(exact, abs=TOLERANCE)
    assert (pairs.first < pairs.second).all()
    assert len(as_set(pairs)) == len(pairs.first)
    assert pairs.second.tolist() == sorted(pairs.second.tolist())


@relaxed
@given(st.integers(2, 60), seeds, thresholds)
def test_the_order_of_the_rows_does_not_matter(clustered: Make, rows: int, seed: int, threshold: float) -> None:
    E = clustered(rows, seed)
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = {tuple(sorted((int(order[a]), int(order[b])))) for a, b in as_set(find_pairs(E[order], threshold))}
    assert shuffled == as_set(find_pairs(E, threshold, cells=3))


@relaxed
@given(st.integers(2, 60), seeds, thresholds, thresholds)
def test_a_higher_threshold_finds_a_subset(clustered: Make, rows: int, seed: int, a: float, b: float) -> None:
    E = clustered(rows, seed)
    assert as_set(find_pairs(E, max(a, b))) <= as_set(find_pairs(E, min(a, b)))


def test_many_rows_in_many_cells_and_small_blocks(clustered: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    E = clustered(3000, 1, 100)
    monkeypatch.setattr(module, "BLOCK", 10_000)
    assert as_set(find_pairs(E, 0.95, cells=40)) == brute_force(E, 0.95)


def test_more_pairs_than_the_limit_is_an_error_that_says_what_to_do() -> None:
    E = np.ones((50, 1), np.float32)
    with pytest.raises(DataError, match="raise the threshold"):
        find_pairs(E, 0.9, limit=100)
