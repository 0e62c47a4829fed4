"""One way to curate rows: merge duplicates down to a threshold, then choose a share of what is left.

What this file does not know: whether the result is good enough (the curator agent asks a student).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ultracore.distillation.curate.duplicates import DedupStats
from ultracore.distillation.curate.embed import Matrix, Row
from ultracore.distillation.curate.pairs import HERE, Progress, silent
from ultracore.distillation.curate.selectors import select_rows
from ultracore.distillation.curate.semdedup import deduplicate_rows
from ultracore.distillation.curate.workers import Workers

__all__ = ["Recipe"]


class Recipe(NamedTuple):
    """What to do.

    Attributes:
        threshold: Cosine from which states are merged; `None` merges exactly equal ones only.
        keep: Share (0..1) of the given rows to choose; `None` keeps all that merging leaves.
        selector: How to choose: a name in `SELECTORS`.
    """

    threshold: float | None = None
    keep: float | None = None
    selector: str = "mixture"

    def apply(
        self,
        rows: Sequence[Row],
        embeddings: Matrix | None,
        seed: int = 0,
        *,
        say: Progress = silent,
        workers: Workers = HERE,
    ) -> tuple[list[Any], DedupStats]:
        """Curate.

        Args:
            rows: Rows as `get_history()` returns them, or decisions.
            embeddings: [rows, dimensions] with rows of length 1; not needed to merge equal states only.
            seed: Of what is random in choosing.
            say: Told how much of the search for similar states is done.
            workers: Where that search is done.

        Returns:
            The kept rows, whose weights add up to those of all, and what merging did.
        """
        if self.threshold is None:
            kept, stats = deduplicate_rows(rows)
        else:
            kept, stats = deduplicate_rows(rows, embeddings, self.threshold, say=say, workers=workers)
        if self.keep is None or embeddings is None:
            return kept, stats
        removed = {pair["removed"] for pair in stats["pairs"]}
        left = [row for row in range(len(rows)) if row not in removed]
        count = max(1, round(self.keep * len(rows)))
        return select_rows(kept, embeddings[left], count, self.selector, seed), stats
