"""What does a smaller training set cost? Student quality against data kept, for each way to choose, random beside it.

Folds by task; every student learns from a part of the training fold and is asked on the other fold. Each
measured student is kept in a file at once, so that a run that was stopped goes on. What this file does
not know: how fast curation is (`curation_speed`).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.data import FOLDS, Part, Size, decisions_of, sample
from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.agents.curation_gate import best_selector
from ultracore.distillation.curate import SemDeDup, deduplicate_rows, embed_decisions
from ultracore.distillation.curate.selectors import SELECTORS, Pool
from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import folds_by_task, units_of
from ultracore.distillation.train.curation_cost import agreement_of, compare_hits

__all__ = ["CURATED", "measure_curation"]

CURATED = ("telecom", "airline", "snips", "sgd")
ROWS = {"snips": 1500, "sgd": 1500}
"""Of the large sets so many rows are folded, whole dialogues of sgd: some 15 students are fitted on each fold."""
CALLS_ONLY = frozenset({"sgd"})
"""As in the table of students: three quarters of sgd are replies, and 10 % of it only teach to reply."""
ALL, RANDOM, VALIDATED, EXACT = "all", "random", "validated", "exact duplicates"
SIZES = {"10%": 0.1, "50%": 0.5, "5%": 0.05, "50 examples": 50}
CELLS = (
    (ALL, ALL),
    *(("10%", how) for how in (RANDOM, "mixture", "features", VALIDATED)),
    *(("50%", how) for how in (RANDOM, "semdedup", "mixture")),
    *((size, how) for size in ("5%", "50 examples") for how in (RANDOM, "mixture")),
    ("10%", "covering"),
    ("10%", "car"),
    ("distinct", EXACT),
)
"""In the order in which they are measured, each on all folds: a run that is stopped has measured what says most.
Exact duplicates come last, as there are hardly any: 1,437 of telecom's 1,507 rows are distinct, of the others' 99 %."""


class Job(NamedTuple):
    """One student to fit: on which fold, how much of it, chosen how."""

    fold: int
    size: str
    how: str


class Outcome(msgspec.Struct):
    """What one student did: rows it learned from, agreement on each decision of the other fold, CPU seconds."""

    fold: int
    size: str
    how: str
    rows: int
    hits: list[float]
    cpu_seconds: float


def measure_curation(name: str, data: Path, size: Size, out: Path, processes: int = 1) -> Section:
    """The curves of one set; the folds of a cell are measured in so many processes at a time."""
    parts = _parts(name, data, size)
    file = out / f"curation-{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {(o.fold, o.size, o.how): o for o in _kept(file)}
    with _map(processes) as run:
        for cell in CELLS:
            jobs = [Job(fold, *cell) for fold in range(len(parts)) if (fold, *cell) not in done]
            for outcome in run(_measure, [parts[job.fold] for job in jobs], jobs, repeat(dict(done))):
                done[outcome.fold, outcome.size, outcome.how] = outcome
                with file.open("ab") as lines:
                    lines.write(msgspec.json.encode(outcome) + b"\n")
    return section_of(name, parts, list(done.values()))


@contextmanager
def _map(processes: int) -> Iterator[Callable[..., Iterable[Outcome]]]:
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def section_of(name: str, parts: Sequence[Part], outcomes: Sequence[Outcome]) -> Section:
    """The table of a set; each row is of the folds that have its student and the random one of its size."""
    by = {(o.fold, o.size, o.how): o for o in outcomes}
    rows, figures = [], {}
    for size, how in CELLS:
        needed = {(size, how), (size, RANDOM) if size in SIZES else (size, how)}
        folds = [fold for fold in range(len(parts)) if all((fold, *one) in by for one in needed)]
        if folds:
            figures[f"{size} {how}"] = found = _figures(by, folds, parts, size, how)
            rows.append(_row(name, size, how, found))
    held = [decision for part in parts for decision in part.test]
    about = f"{len(held):,} held-out decisions of {len(set(units_of(held)))} tasks, {len(parts)} folds by task"
    return Section(f"curation/{name}", about, [Table(TITLE, COLUMNS, rows, NOTE)], figures=figures)


TITLE = "Whole-call agreement (strict) of the student by the data kept, %"
COLUMNS = [
    "data", "kept", "chosen", "folds", "rows", "agreement", "loss against all, points", "gain on random, points",
    "of all",
]  # fmt: skip
NOTE = (
    "Mean over the folds measured; losses are over those that have a student of all rows. Brackets resample whole "
    "tasks, paired. Each fold has its own random draw. semdedup: the highest threshold that removes half; decisions "
    "that differ are never merged, so it may keep more. exact duplicates: equal state and decision. validated: what "
    "the curator does, the way whose students agree most on tasks held out of the training fold, if better than "
    "random by a standard error there."
)


def _figures(
    by: dict[tuple[int, str, str], Outcome], folds: Sequence[int], parts: Sequence[Part], size: str, how: str
) -> dict[str, Any]:
    """Gain on random over all these folds, loss over those of them that have a student of all rows."""
    whole = [fold for fold in folds if (fold, ALL, ALL) in by]

    def hits(some: Sequence[int], size: str, how: str) -> Any:
        return np.concatenate([by[fold, size, how].hits for fold in some])

    def held(some: Sequence[int]) -> list[Decision]:
        return [decision for fold in some for decision in parts[fold].test]

    found: dict[str, Any] = {
        "folds": len(folds),
        "folds_with_all": len(whole),
        "rows": float(np.mean([by[fold, size, how].rows for fold in folds])),
        "agreement": float(hits(folds, size, how).mean()),
        "cpu_seconds": float(np.mean([by[fold, size, how].cpu_seconds for fold in folds])),
    }
    if whole:
        mine, full = hits(whole, size, how), hits(whole, ALL, ALL)
        found |= {"loss": compare_hits(full, mine, held(whole))[2:4], "of_all": float(mine.mean() / full.mean())}
    if size in SIZES and how != RANDOM:
        found["gain"] = compare_hits(hits(folds, size, how), hits(folds, size, RANDOM), held(folds))[2:4]
    return found


def _row(name: str, size: str, how: str, found: dict[str, Any]) -> list[str]:
    folds, whole = found["folds"], found["folds_with_all"]
    loss, gain, of_all = found.get("loss"), found.get("gain"), found.get("of_all")
    return [
        name, size, how, f"{folds}" if whole == folds else f"{folds} ({whole} with all)", number(found["rows"], 0),
        share(found["agreement"]), "-" if loss is None else share(*loss), "-" if gain is None else share(*gain),
        "-" if of_all is None else share(of_all),
    ]  # fmt: skip


def _measure(part: Part, job: Job, done: Mapping[tuple[int, str, str], Outcome]) -> Outcome:
    began = time.process_time()
    if job.how == VALIDATED:
        won = best_selector(part.train, embed_decisions(part.train), SIZES[job.size], job.fold)
        same = done.get((job.fold, job.size, won))  # a student of the same rows, which need not be fitted again
        job = job._replace(how=won)
        hits, rows = (same.hits, same.rows) if same else _asked(part, job)
        return Outcome(job.fold, job.size, VALIDATED, rows, hits, time.process_time() - began)
    hits, rows = _asked(part, job)
    return Outcome(job.fold, job.size, job.how, rows, hits, time.process_time() - began)


def _asked(part: Part, job: Job) -> tuple[list[float], int]:
    chosen = _choose(part.train, job)
    return agreement_of(chosen, part.test).tolist(), len(chosen)


def _choose(train: Sequence[Decision], job: Job) -> list[Decision]:
    if job.size == ALL:
        return list(train)
    if job.how == EXACT:
        return deduplicate_rows(train)[0]
    embeddings = embed_decisions(train)
    if job.how == "semdedup":
        return SemDeDup(target_reduction=0.5).reduce(train, embeddings)[0]
    wanted = SIZES[job.size]
    count = min(len(train), round(wanted * len(train)) if wanted < 1 else int(wanted))
    places = SELECTORS[job.how](Pool(train, train, embeddings), count, job.fold)
    return [train[place] for place in np.sort(places).tolist()]


def _parts(name: str, data: Path, size: Size) -> list[Part]:
    decisions = [decision for decision in decisions_of(name, data) if decision.is_call or name not in CALLS_ONLY]
    wanted = 300 if size.quick else ROWS.get(name, len(decisions))
    decisions = sample(decisions, wanted) if name == "snips" else _whole_tasks(decisions, wanted)
    k = 2 if size.quick else FOLDS
    fold = folds_by_task(decisions, k, seed=0)
    folded = list(zip(decisions, fold, strict=True))
    return [Part([d for d, f in folded if f != i], [d for d, f in folded if f == i]) for i in range(k)]


def _whole_tasks(decisions: Sequence[Decision], wanted: int) -> list[Decision]:
    if len(decisions) < 2 * wanted:
        return list(decisions)
    fold = folds_by_task(decisions, len(decisions) // wanted, seed=0)
    return [decision for decision, f in zip(decisions, fold, strict=True) if f == 0]


def _kept(file: Path) -> list[Outcome]:
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [msgspec.json.decode(line, type=Outcome) for line in lines]
