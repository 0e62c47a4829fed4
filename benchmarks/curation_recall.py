"""Does the search for duplicates lose a pair where brute force takes hours on a CPU? A GPU knows in seconds.

The planted rows of `curation_speed`, a million of them: every product of two rows on the GPU, in full float32,
those near the threshold once more in float64. Needs PyTorch with CUDA in this interpreter; without one the
benchmark says so and measures nothing. What this file does not know: how fast either is elsewhere.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curation_speed import THRESHOLD, planted
from benchmarks.data import Size
from benchmarks.sections import Section, Table, number
from ultracore.distillation.curate.pairs import TOLERANCE, find_pairs

__all__ = ["measure_curation_recall"]

ROWS = (100_000, 300_000, 1_000_000)
BLOCK = 4096
NEAR = 1e-5  # of float32 products, more than their rounding: what lies above is confirmed in float64

Keys = NDArray[np.int64]


def measure_curation_recall(size: Size) -> Section:
    """Recall of pairs against brute force, to a million rows."""
    if not _has_cuda():
        return Section("curation-recall", skipped="needs PyTorch and a CUDA device: brute force on a CPU takes hours")
    rows = [_compared(count) for count in (ROWS[:1] if size.quick else ROWS)]
    columns = [
        "rows",
        "pairs by brute force",
        "of them found",
        "recall",
        "found besides",
        "CPU s",
        "brute force, GPU s",
    ]
    note = f"Pairs at a cosine of {THRESHOLD} or more, known to {TOLERANCE}. {_device()}; the search runs on one core."
    about = "planted duplicates, 384 dimensions, float32"
    return Section("curation-recall", about, [Table("Every pair, against brute force", columns, rows, note)])


def _compared(count: int) -> list[str]:
    embeddings = planted(count)
    began = time.perf_counter()
    exact = np.concatenate(list(_exact_keys(embeddings)))
    waited = time.perf_counter() - began
    before = time.process_time()
    pairs = find_pairs(embeddings, THRESHOLD)
    used = time.process_time() - before
    mine = pairs.second.astype(np.int64) * count + pairs.first
    missed, besides = len(np.setdiff1d(exact, mine)), len(np.setdiff1d(mine, exact))
    found = len(exact) - missed
    return [
        f"{count:,}", f"{len(exact):,}", f"{found:,}", number(found / len(exact), 6), f"{besides:,}",
        number(used, 1), number(waited, 1),
    ]  # fmt: skip


def _exact_keys(embeddings: NDArray[np.float32]) -> Iterator[Keys]:
    """`second * rows + first` of all pairs, for a block of first rows at a time."""
    import torch

    E = torch.from_numpy(embeddings).cuda()
    for start in range(0, len(E), BLOCK):
        near = E[start : start + BLOCK] @ E[start:].T
        first, second = torch.nonzero(near >= THRESHOLD - NEAR, as_tuple=True)
        del near
        later = second > first
        first, second = first[later] + start, second[later] + start
        cosine = (E[first].double() * E[second].double()).sum(dim=1)
        sure = cosine >= THRESHOLD - TOLERANCE
        keys: Any = (second[sure] * len(E) + first[sure]).cpu().numpy()
        yield keys


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def _device() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
