"""The search for pairs on a local Ray cluster of two nodes; run by `make test-ray`, which has an environment with ray.

Its name keeps it out of the other suites, whose environment has no ray.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import ray
from numpy.typing import NDArray
from ray.cluster_utils import Cluster

from ultracore.distillation.curate import SemDeDup
from ultracore.distillation.curate.on_ray import OnRay
from ultracore.distillation.curate.pairs import find_pairs
from ultracore.distillation.errors import ConfigurationError

Make = Callable[..., NDArray[np.float32]]
STORE = 200_000_000  # bytes of shared memory a node


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    found.add_node(num_cpus=1, object_store_memory=STORE)
    yield found
    found.shutdown()


@pytest.fixture
def workers(cluster: Cluster) -> Iterator[OnRay]:
    with OnRay(cluster.address) as found:
        yield found


def where(number: int) -> tuple[int, str, int]:
    return number, ray.get_runtime_context().get_node_id(), os.getpid()


def test_the_same_pairs_as_in_one_process(clustered: Make, workers: OnRay) -> None:
    rows = clustered(3000, 1, 40)
    here, there = find_pairs(rows, 0.95, cells=40), find_pairs(rows, 0.95, cells=40, workers=workers)
    assert len(here.first) > 1000
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_rows_are_kept(row: Callable[..., Any], workers: OnRay) -> None:
    rows = [row(f"where is my parcel number {n % 90} of street {n % 7}", event_id=f"e{n}") for n in range(400)]
    here, there = (asyncio.run(SemDeDup(0.85, workers=who).deduplicate(rows)) for who in (SemDeDup().workers, workers))
    assert 1 < len(here[0]) < 90
    assert here == there


def test_both_nodes_work_and_the_order_stays(workers: OnRay) -> None:
    done = list(workers.map(where, (), ((number,) for number in range(200))))
    assert [number for number, _, _ in done] == list(range(200))
    assert len({node for _, node, _ in done}) == 2
    assert os.getpid() not in {process for _, _, process in done}


def test_an_error_in_a_piece_is_raised_here(workers: OnRay) -> None:
    with pytest.raises(TypeError):
        list(workers.map(where, (), [("a", "piece", "too long")]))


def test_work_goes_on_when_a_node_is_lost(clustered: Make, cluster: Cluster, workers: OnRay) -> None:
    extra = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    rows = clustered(3000, 2, 40)

    def lose(done: int, total: int) -> None:
        if done == 1:
            cluster.remove_node(extra)

    there = find_pairs(rows, 0.95, cells=200, workers=workers, say=lose)
    np.testing.assert_array_equal(find_pairs(rows, 0.95, cells=200).first, there.first)


def test_no_cluster_at_the_address() -> None:
    with pytest.raises(ConfigurationError, match="no Ray cluster at"):
        OnRay("127.0.0.1:1")
