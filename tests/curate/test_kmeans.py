from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ultracore.distillation.curate import kmeans
from ultracore.distillation.curate.kmeans import SEEDED, cluster

Make = Callable[..., NDArray[np.float32]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(0, 1000), st.integers(1, 90))
def test_each_row_is_in_the_cluster_of_its_nearest_centre(clustered: Make, rows: int, seed: int, k: int) -> None:
    E = clustered(rows, seed)
    found = cluster(E, k, seed=seed)
    near = E @ found.centres.T
    assert found.label.tolist() == near.argmax(axis=1).tolist()
    assert found.cosine == pytest.approx(near.max(axis=1), abs=1e-5)
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1, abs=1e-5)
    assert set(found.label.tolist()) == set(range(len(found.centres)))
    assert len(found.centres) <= min(k, len(np.unique(E, axis=0)))


@pytest.mark.parametrize("k", [5, SEEDED + 1])
def test_far_groups_are_found(k: int) -> None:
    random = np.random.default_rng(0)
    E = np.repeat(np.eye(k), 6, axis=0) + 0.02 * random.normal(size=(6 * k, k))
    E = (E / np.linalg.norm(E, axis=1, keepdims=True)).astype(np.float32)
    found = cluster(E, k)
    groups = [set(found.label[start : start + 6].tolist()) for start in range(0, 6 * k, 6)]
    whole = sum(len(group) == 1 for group in groups)
    assert whole == k if k <= SEEDED else whole > 0.9 * k


def test_more_rounds_do_not_make_it_worse(clustered: Make) -> None:
    E = clustered(400, 5, 12)
    one, many = (float(cluster(E, 20, rounds=rounds).cosine.mean()) for rounds in (1, 20))
    assert many >= one > 0


def test_the_size_of_a_block_changes_nothing(clustered: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    E = clustered(200, 2)
    whole = cluster(E, 7)
    monkeypatch.setattr(kmeans, "BLOCK", 50)
    assert cluster(E, 7).label.tolist() == whole.label.tolist()
