"""CaR: a few decisions from each cluster, to look at or to put into a prompt.

After "Clustering and Ranking" (Ge et al., EMNLP 2024, arXiv 2402.18191), ranked by nearness to the
cluster's centre.

**Do not train this package's student on the result.** Measured on tau2 traces (tool name agreement
of the student): of 2,616 rows, 10 % chosen by CaR give 64.6 %, 10 % drawn at random 73.4 %, all rows
81.2 %; 50 rows chosen by CaR 54.1 %, drawn at random 62.0 %. The centres are the easy, frequent
cases; the boundaries and the rare tools are what is lost. It is good for what needs few and typical
rows: demonstrations in a prompt, and an overview for a person. What this file does not know:
deduplication, and how the embeddings were made (`embed_decisions`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from ultracore.distillation.curate.embed import Matrix, Row, check_matrix
from ultracore.distillation.curate.kmeans import Clusters, cluster
from ultracore.distillation.curate.reduction import weight_of
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError

__all__ = ["AdaptiveCaR", "CaR", "CaRStats", "ClusterStats"]

Labels = NDArray[np.intp]

SILHOUETTE_ROWS = 2_000  # the silhouette compares all pairs: on more rows it is taken from a sample
ADAPTIVE_CLUSTERS = (2, 3, 5, 8, 13, 21, 34, 55)


class ClusterStats(TypedDict):
    """One cluster: how many rows it has, and the indices of the chosen ones, most central first."""

    cluster_id: int
    size: int
    representatives: list[int]


class CaRStats(TypedDict):
    """What the selection did; `silhouette_score` is null where there are fewer than two clusters."""

    original_count: int
    cluster_count: int
    selected_count: int
    selection_rate: float
    cluster_stats: list[ClusterStats]
    silhouette_score: float | None


class CaR:
    """Chooses the rows nearest to each cluster's centre; see the module for when not to use it.

    Args:
        n_clusters: How many clusters to make; fewer where there are not so many distinct rows.
        examples_per_cluster: How many rows to choose from each.
        seed: Of the clustering.

    Raises:
        ConfigurationError: A number is less than 1.
    """

    def __init__(self, n_clusters: int = 10, examples_per_cluster: int = 5, *, seed: int = 0) -> None:
        if n_clusters < 1 or examples_per_cluster < 1:
            raise ConfigurationError("n_clusters and examples_per_cluster must be at least 1")
        self.n_clusters = n_clusters
        self.examples_per_cluster = examples_per_cluster
        self.seed = seed

    async def select_representatives(self, decisions: Sequence[Row], embeddings: Any) -> tuple[list[Any], CaRStats]:
        """Choose representatives of the decisions.

        Args:
            decisions: Rows, for instance those that `SemDeDup` kept; they are not changed.
            embeddings: [decisions, dimensions], as `embed_decisions(decisions)` makes them.

        Returns:
            The chosen rows, cluster by cluster and most central first, and the account of it. A
            dict comes back as a copy with `cluster_id`, `representativeness_score` (cosine to the
            cluster's centre) and `weight`: its own and that of the rows of its cluster that are
            nearer to it than to another chosen one. A `Decision` comes back with its weight alone.

        Raises:
            DataError: The embeddings are not one finite row for each decision.
        """
        matrix = check_matrix(embeddings, len(decisions)) if len(decisions) else np.zeros((0, 1), np.float32)
        return await asyncio.to_thread(self._select, decisions, matrix)

    def _cluster(self, embeddings: Matrix) -> tuple[Clusters, float | None]:
        found = cluster(embeddings, self.n_clusters, seed=self.seed)
        return found, _silhouette(embeddings, found.label, self.seed)

    def _select(self, decisions: Sequence[Row], embeddings: Matrix) -> tuple[list[Any], CaRStats]:
        if not len(decisions):
            return [], _account(0, [], None)
        clusters, silhouette = self._cluster(embeddings)
        chosen: list[Any] = []
        stats: list[ClusterStats] = []
        for number in range(len(clusters.centres)):
            rows = np.flatnonzero(clusters.label == number)
            picked, weights = self._rank(
                embeddings[rows], clusters.cosine[rows], [weight_of(decisions[i]) for i in rows.tolist()]
            )
            places = rows[picked].tolist()
            scores = clusters.cosine[places].tolist()
            chosen += map(_chosen, [decisions[p] for p in places], [number] * len(places), scores, weights)
            stats.append({"cluster_id": number, "size": len(rows), "representatives": places})
        return chosen, _account(len(decisions), stats, silhouette)

    def _rank(self, rows: Matrix, cosine: NDArray[np.float32], weights: Sequence[float]) -> tuple[Labels, list[float]]:
        """Places of the most central rows, and the weight that each stands for."""
        picked = np.argsort(-cosine, kind="stable")[: self.examples_per_cluster]
        nearest = (rows @ rows[picked].T).argmax(axis=1)
        nearest[picked] = np.arange(len(picked))  # a copy of a chosen row still stands for itself
        return picked, np.bincount(nearest, weights=weights, minlength=len(picked)).tolist()


class AdaptiveCaR(CaR):
    """`CaR` with the number of clusters (2 to 55) that has the best silhouette.

    Args:
        examples_per_cluster: How many rows to choose from each cluster.
        seed: Of the clustering.
    """

    def __init__(self, examples_per_cluster: int = 5, *, seed: int = 0) -> None:
        super().__init__(1, examples_per_cluster, seed=seed)

    def _cluster(self, embeddings: Matrix) -> tuple[Clusters, float | None]:
        tried = [cluster(embeddings, k, seed=self.seed) for k in ADAPTIVE_CLUSTERS if k <= len(embeddings)]
        scored = [(found, _silhouette(embeddings, found.label, self.seed)) for found in tried]
        one = cluster(embeddings, 1, seed=self.seed), None
        return max([one, *scored], key=lambda pair: -1.0 if pair[1] is None else pair[1])


def _account(rows: int, clusters: list[ClusterStats], silhouette: float | None) -> CaRStats:
    selected = sum(len(found["representatives"]) for found in clusters)
    return {
        "original_count": rows,
        "cluster_count": len(clusters),
        "selected_count": selected,
        "selection_rate": selected / rows if rows else 0.0,
        "cluster_stats": clusters,
        "silhouette_score": silhouette,
    }


def _silhouette(embeddings: Matrix, labels: Labels, seed: int) -> float | None:
    sample = np.random.default_rng(seed).permutation(len(labels))[:SILHOUETTE_ROWS]
    clusters = len(np.unique(labels[sample]))
    if not 1 < clusters < len(sample):
        return None
    return float(silhouette_score(embeddings[sample], labels[sample], metric="cosine"))


def _chosen(row: Row, cluster: int, score: float, weight: float) -> Row:
    if isinstance(row, Decision):
        return msgspec.structs.replace(row, weight=weight)
    return {**row, "cluster_id": cluster, "representativeness_score": score, "weight": weight}
