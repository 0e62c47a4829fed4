"""How much CPU and memory do duplicates and clusters cost, beside SemHash, faiss and brute force?

Every measurement is a process of its own with one thread, on a matrix in a file, so that its peak of
memory is its own. Peers run in the Python that `$DISTILL_BENCH_PEERS` names (with semhash 0.5.0 and
faiss-cpu); without one the table says what is missing. What this file does not know: whether what is
kept teaches (`curation`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curation_peers import forget_peak, peak_mb
from benchmarks.data import MissingDataError, Size, decisions_of
from benchmarks.provenance import ROOT
from benchmarks.sections import Section, Table, number
from ultracore.distillation.curate import embed_decisions
from ultracore.distillation.curate.kmeans import cluster
from ultracore.distillation.curate.pairs import find_pairs

__all__ = ["measure_curation_speed", "planted"]

THRESHOLD = 0.95
DIMENSIONS = 384
COMPARED = 100_000
GROWTH = (10_000, 30_000, 100_000, 300_000)
MOST = 1_000_000
CLUSTERS = (10, 100, 1000)
REAL = ("sgd", "airline", "telecom")
PEERS = "DISTILL_BENCH_PEERS"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Found = dict[str, Any]


def planted(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """A mixture of topics with a falling spectrum; half the rows are duplicates of the others, 30 % of them exact.

    The rest lie at a cosine of 0.951 to 0.999 from their original, in directions as the data have them.
    """
    random = np.random.default_rng(seed)
    spectrum = (np.arange(1, DIMENSIONS + 1) ** -0.35).astype(np.float32)
    chance = np.arange(1, max(8, rows // 200) + 1) ** -0.7
    topics = random.standard_normal((len(chance), DIMENSIONS), dtype=np.float32) * spectrum
    half = rows // 2
    originals = topics[random.choice(len(chance), half, p=chance / chance.sum())]
    originals += 0.8 * random.standard_normal((half, DIMENSIONS), dtype=np.float32) * spectrum
    originals /= np.linalg.norm(originals, axis=1, keepdims=True)
    copies = originals[random.integers(0, half, rows - half)]
    moved = np.flatnonzero(random.random(len(copies)) >= 0.3)
    cosine = random.uniform(0.951, 0.999, (len(moved), 1)).astype(np.float32)
    aside = random.standard_normal((len(moved), DIMENSIONS), dtype=np.float32) * spectrum
    aside -= (aside * copies[moved]).sum(axis=1, keepdims=True) * copies[moved]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    copies[moved] = cosine * copies[moved] + np.sqrt(1 - cosine**2) * aside
    return np.concatenate([originals, copies])[random.permutation(rows)]


def measure_curation_speed(data: Path, size: Size) -> Section:
    """Duplicates at 100,000 rows and on real states, growth, and k-means."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compared = 2_000 if size.quick else COMPARED
        file = _file(folder, compared)
        tables = [
            _duplicates(f"planted, {compared:,} x {DIMENSIONS}", file),
            *([] if size.quick else _real(data, folder)),
            _clusters(file, (10,) if size.quick else CLUSTERS),
            _growth(folder, (500, 1000) if size.quick else (*GROWTH, MOST) if size.full else GROWTH),
        ]
    about = f"cosine {THRESHOLD}, {DIMENSIONS} dimensions, one thread, CPU seconds from ready embeddings"
    return Section("curation-speed", about, tables)


def _duplicates(name: str, file: Path) -> Table:
    keys = file.with_suffix(".exact.npy")
    exact = _run([sys.executable, *_peer("exact"), str(file), str(THRESHOLD), str(keys)])
    mine = _own("pairs", file, keys)
    semhash = _with_peers("semhash", file, THRESHOLD)
    rows = [[name, "this package", *_cells(mine), number(mine["recall"], 6), number(mine["kept"], 0)]]
    rows.append([name, "brute force", *_cells(exact), "1", "-"])
    rows.append([name, "SemHash 0.5.0", *_cells(semhash), "-", number(semhash.get("kept"), 0)])
    if "cpu_seconds" in semhash:
        ratio = semhash["cpu_seconds"] / mine["cpu_seconds"]
        rows.append([name, "SemHash / this package", f"{ratio:.1f} x", "", "", ""])
    return Table(
        "Duplicates",
        ["data", "who", "CPU s", "memory beyond the matrix, MB", "recall of pairs", "kept"],
        rows,
        "Kept: rows without an earlier kept row at the threshold. Recall: of the pairs that brute force finds.",
    )


def _real(data: Path, folder: Path) -> list[Table]:
    tables = []
    for name in REAL:
        try:
            decisions = decisions_of(name, data)
        except MissingDataError as missing:
            tables.append(Table("Duplicates", [], [[name, str(missing), "", "", "", ""]]))
            continue
        file = folder / f"{name}.npy"
        began = time.process_time()
        embeddings = embed_decisions(decisions)
        tables.append(_embedding(name, len(decisions), time.process_time() - began))
        np.save(file, embeddings)
        tables.append(_duplicates(f"{name}, {len(embeddings):,} states x {embeddings.shape[1]}", file))
    return tables


def _embedding(name: str, states: int, seconds: float) -> Table:
    cells = [name, f"{states:,}", number(seconds, 2), number(1e6 * seconds / states, 0)]
    return Table("Hashed embeddings", ["data", "states", "CPU s", "CPU s for a million such states"], [cells])


def _clusters(file: Path, clusters: Sequence[int]) -> Table:
    rows = []
    for k in clusters:
        mine, faiss = _own("cluster", file, k), _with_peers("faiss", file, k)
        for who, found in (("this package", mine), ("faiss, 20 rounds, all points", faiss)):
            rows.append([str(k), who, *_cells(found), number(found.get("cosine"), 4)])
    return Table("k-means", ["clusters", "who", "CPU s", "memory beyond the matrix, MB", "mean cosine"], rows)


def _growth(folder: Path, sizes: Sequence[int]) -> Table:
    points, rows = [], []
    for size in sizes:
        file = _file(folder, size)
        found = _own("pairs", file)
        file.unlink()
        points.append((size, found["cpu_seconds"]))
        rows.append([f"{size:,}", *_cells(found), number(found["pairs"], 0), _exponent(points[-2:])])
    n, seconds = points[-1]
    slope = np.log(seconds / points[-2][1]) / np.log(n / points[-2][0])
    note = "".join(
        f"Extrapolated to {far:,} rows: {seconds:.1f} CPU s x ({far:,} / {n:,})^{slope:.2f} = "
        f"{seconds * (far / n) ** slope / 3600:,.1f} CPU hours. "
        for far in (10_000_000, 100_000_000)
    )
    return Table("Growth", ["rows", "CPU s", "memory beyond the matrix, MB", "pairs", "exponent since"], rows, note)


def _exponent(points: Sequence[tuple[int, float]]) -> str:
    if len(points) < 2:
        return "-"
    (n, seconds), (more, longer) = points
    return number(float(np.log(longer / seconds) / np.log(more / n)), 2)


def _cells(found: Found) -> list[str]:
    return [found.get("missing") or number(found["cpu_seconds"], 2), number(found.get("extra_mb"), 0)]


def _file(folder: Path, rows: int) -> Path:
    file = folder / f"planted-{rows}.npy"
    if not file.exists():
        np.save(file, planted(rows))
    return file


def _own(what: str, file: Path, *more: Any) -> Found:
    return _run([sys.executable, "-m", "benchmarks.curation_speed", what, str(file), *map(str, more)])


def _with_peers(name: str, file: Path, argument: float) -> Found:
    python = os.environ.get(PEERS)
    if not python:
        return {"missing": f"not run: ${PEERS} names no Python"}
    return _run([python, *_peer(name), str(file), str(argument)])


def _peer(name: str) -> list[str]:
    return [str(Path(__file__).with_name("curation_peers.py")), name]


def _run(words: Sequence[str]) -> Found:
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ | ONE_THREAD)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"missing": f"failed: {last[:120]}"}
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _pairs(embeddings: NDArray[np.float32], exact: str = "") -> Found:
    with _used() as found:
        pairs = find_pairs(embeddings, THRESHOLD)
    found["pairs"] = len(pairs.first)
    if exact:
        keys = pairs.second.astype(np.int64) * len(embeddings) + pairs.first
        wanted = np.load(exact)
        found["recall"] = float(np.isin(wanted, keys).mean()) if len(wanted) else 1.0
        found["kept"] = _kept(pairs.first.tolist(), pairs.second.tolist(), len(embeddings))
    return found


def _kept(first: Sequence[int], second: Sequence[int], rows: int) -> int:
    stays = [True] * rows
    for earlier, later in zip(first, second, strict=True):  # sorted by the later row
        stays[later] &= not stays[earlier]
    return sum(stays)


def main() -> None:
    """Measure one thing in this process; called by `_own`."""
    what, file, *more = sys.argv[1:]
    embeddings = np.load(file)
    print(json.dumps(_pairs(embeddings, *more) if what == "pairs" else _cluster(embeddings, int(more[0]))))


def _cluster(embeddings: NDArray[np.float32], k: int) -> Found:
    with _used() as found:
        cosine = cluster(embeddings, k).cosine
    return found | {"cosine": float(cosine.mean())}


@contextmanager
def _used() -> Iterator[Found]:
    found: Found = {}
    forget_peak()
    before, began = peak_mb(), time.process_time()
    yield found
    found["cpu_seconds"] = time.process_time() - began
    peak = peak_mb()
    found["extra_mb"] = None if before is None or peak is None else peak - before


if __name__ == "__main__":
    main()
