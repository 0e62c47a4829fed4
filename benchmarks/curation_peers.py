"""Other people's deduplication and k-means on a matrix in a file: run by a Python that has them.

`python benchmarks/curation_peers.py semhash|faiss|exact FILE NUMBER [KEYS]` prints one line of JSON. It imports
nothing of this project, so that it runs in an environment of its own. What this file does not know: how
the matrix was made.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]


def semhash(embeddings: Any, threshold: float) -> Found:
    """Deduplicate with SemHash from ready embeddings; texts are unique, so its shortcut for equal texts is idle."""
    from semhash import SemHash

    index = SemHash.from_embeddings(embeddings, [str(row) for row in range(len(embeddings))], model=None)
    return {"kept": len(index.self_deduplicate(threshold=threshold).selected)}


def faiss(embeddings: Any, clusters: float) -> Found:
    """Spherical k-means of faiss on all points, 20 rounds; and the assignment."""
    from faiss import Kmeans

    means = Kmeans(embeddings.shape[1], int(clusters), niter=20, spherical=True, max_points_per_centroid=10**9, seed=0)
    means.train(embeddings)
    similarity, _ = means.index.search(embeddings, 1)
    return {"cosine": float(similarity.mean())}


def exact(embeddings: Any, threshold: float) -> Found:
    """All pairs by brute force: the keys `second * rows + first`, of float64 cosines, at the threshold less 1e-6."""
    rows, keys = len(embeddings), []
    for start in range(0, rows, 512):
        near = embeddings[start : start + 512] @ embeddings[start:].T
        first, second = np.nonzero(near >= threshold - 1e-5)
        first, second = first[second > first] + start, second[second > first] + start
        cosine = (embeddings[first].astype(np.float64) * embeddings[second]).sum(axis=1)
        keys.append((second * rows + first)[cosine >= threshold - 1e-6])
    np.save(sys.argv[4], np.concatenate(keys))
    return {"pairs": int(sum(map(len, keys)))}


def peak_mb() -> float | None:
    """Peak of this process's own memory since `forget_peak`; `None` where there is no /proc.

    Not getrusage: its peak passes from parent to child, so that the benchmark's own matrix would hide everything.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Let the peak begin at what is in use now."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


PEERS = {"semhash": semhash, "faiss": faiss, "exact": exact}


def main() -> None:
    """Measure one peer: CPU seconds, and the peak of memory above what the matrix takes."""
    name, file, argument = sys.argv[1:4]
    embeddings = np.load(file)
    forget_peak()
    before, began = peak_mb(), time.process_time()
    found = PEERS[name](embeddings, float(argument))
    seconds, peak = time.process_time() - began, peak_mb()
    extra = None if before is None or peak is None else peak - before
    print(json.dumps(found | {"cpu_seconds": seconds, "extra_mb": extra}))


if __name__ == "__main__":
    main()
