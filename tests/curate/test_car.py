import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ultracore.distillation.curate import AdaptiveCaR, CaR, embed_decisions
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError, DataError

Row = dict[str, Any]


def select(car: CaR, rows: list[Any], E: Any) -> tuple[list[Any], dict[str, Any]]:
    chosen, stats = asyncio.run(car.select_representatives(rows, E))
    return chosen, dict(stats)


def blobs(groups: int, each: int) -> tuple[list[Row], NDArray[np.float32]]:
    """Far groups of rows around the axes; the first row of each is on the axis itself."""
    random = np.random.default_rng(0)
    noise = 0.05 * random.normal(size=(groups, each, groups))
    noise[:, 0] = 0
    matrix = (np.eye(groups)[:, None] + noise).reshape(-1, groups)
    return [{"context": {"n": i}, "tool_selected": "x"} for i in range(groups * each)], matrix.astype(np.float32)


def test_the_promised_statistics_and_marks() -> None:
    rows, E = blobs(4, 20)
    chosen, stats = select(CaR(n_clusters=4, examples_per_cluster=3), rows, E)
    assert stats["original_count"] == 80
    assert stats["cluster_count"] == 4
    assert stats["selected_count"] == len(chosen) == 12
    assert stats["selection_rate"] == 0.15
    assert [c["size"] for c in stats["cluster_stats"]] == [20] * 4
    assert stats["silhouette_score"] > 0.9
    for item in chosen:
        assert item["cluster_id"] in range(4)
        assert 0.9 < item["representativeness_score"] <= 1.00001
    for cluster in stats["cluster_stats"]:
        mine = [item for item in chosen if item["cluster_id"] == cluster["cluster_id"]]
        assert [item["context"]["n"] for item in mine] == cluster["representatives"]
        scores = [item["representativeness_score"] for item in mine]
        assert scores == sorted(scores, reverse=True)
        assert sum(item["weight"] for item in mine) == 20


def test_the_defaults_are_ten_by_five() -> None:
    parameters = inspect.signature(CaR).parameters
    assert (parameters["n_clusters"].default, parameters["examples_per_cluster"].default) == (10, 5)
    assert inspect.signature(AdaptiveCaR).parameters["examples_per_cluster"].default == 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(0, 1000), st.integers(1, 12), st.integers(1, 6))
def test_weights_add_up_and_nobody_is_chosen_twice(
    clustered: Callable[..., NDArray[np.float32]], n: int, seed: int, clusters: int, each: int
) -> None:
    rows = [{"context": {"n": i}, "weight": i % 3 + 1} for i in range(n)]
    chosen, stats = select(CaR(clusters, each), rows, clustered(n, seed))
    assert sum(item["weight"] for item in chosen) == sum(row["weight"] for row in rows)
    assert len({item["context"]["n"] for item in chosen}) == len(chosen)
    assert all(item["weight"] > 0 for item in chosen)
    assert 1 <= stats["cluster_count"] <= min(clusters, n)
    assert all(1 <= len(c["representatives"]) <= each for c in stats["cluster_stats"])
    assert sum(c["size"] for c in stats["cluster_stats"]) == n


def test_the_adaptive_one_finds_the_number_of_clusters() -> None:
    rows, E = blobs(5, 12)
    _, stats = select(AdaptiveCaR(examples_per_cluster=2), rows, E)
    assert stats["cluster_count"] == 5
    assert stats["selected_count"] == 10


@pytest.mark.parametrize("car", [CaR(), AdaptiveCaR()])
def test_equal_rows_are_one_cluster_without_a_silhouette(car: CaR) -> None:
    chosen, stats = select(car, [{"context": {}}] * 8, np.ones((8, 3)))
    assert stats["cluster_count"] == 1
    assert stats["silhouette_score"] is None
    assert [item["weight"] for item in chosen] == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("car", [CaR(), AdaptiveCaR()])
def test_nothing_gives_nothing(car: CaR) -> None:
    chosen, stats = select(car, [], [])
    assert chosen == []
    assert stats["selection_rate"] == 0.0
    assert stats["cluster_stats"] == []


def test_embeddings_of_kept_rows_are_one_call_away() -> None:
    rows = [{"context": {"request": f"word{i % 3} and {i}"}, "tool_selected": "x"} for i in range(30)]
    chosen, stats = select(CaR(3, 2), rows, embed_decisions(rows))
    assert stats["cluster_count"] == 3
    assert len(chosen) == 6


def test_decisions_come_back_as_decisions() -> None:
    decisions = [Decision.from_row({"context": {"n": i}}, i) for i in range(6)]
    chosen, _ = select(CaR(2, 1), decisions, embed_decisions(decisions))
    assert sum(item.weight for item in chosen) == 6


def test_the_seed_decides() -> None:
    rows, E = blobs(6, 10)
    assert select(CaR(3, 2, seed=1), rows, E) == select(CaR(3, 2, seed=1), rows, E)


def test_unusable_arguments() -> None:
    with pytest.raises(DataError, match=r"shape \[2 decisions"):
        select(CaR(), [{"context": {}}] * 2, np.ones((3, 2)))
    with pytest.raises(DataError, match="NaN"):
        select(CaR(), [{"context": {}}], [[np.nan]])
    with pytest.raises(ConfigurationError, match="at least 1"):
        CaR(0)
    with pytest.raises(ConfigurationError, match="at least 1"):
        AdaptiveCaR(0)
