"""What to do with decisions on which the teacher flips: learn them as they are, by their votes, or not at all?

A teacher that contradicts itself in the very same state cannot be agreed with each time. Three students learn from
the same training tasks and are asked on the same others; the teacher's decisions there stay as they are.
What this file does not know: how contradictions are found (`train.flips`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.data import Part, Size, parts_of
from benchmarks.sections import Section, Table, share
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.splits import folds_by_task
from ultracore.distillation.teachers.scripted.traces import write_traces
from ultracore.distillation.train.curation_cost import agreement_of, compare_hits
from ultracore.distillation.train.flips import Flips, count_flips, votes_of

__all__ = ["ARMS", "NOISY", "by_votes", "majority_only", "measure_teacher_noise"]

NOISY = {"bank-5%": 0.05, "bank-15%": 0.15}
"""Synthetic teachers that do something else so often, on tasks that mostly come up five times."""
CONVERSATIONS, TRIALS = 200, 5


def by_votes(decisions: Sequence[Decision]) -> list[Decision]:
    """Soft labels: each decision weighs the share of the votes in its state."""
    votes = votes_of(decisions)
    return [
        msgspec.structs.replace(d, weight=d.weight * v.same / v.total) for d, v in zip(decisions, votes, strict=True)
    ]


def majority_only(decisions: Sequence[Decision]) -> list[Decision]:
    """Without those that are outvoted in their state."""
    return [d for d, v in zip(decisions, votes_of(decisions), strict=True) if v.same == v.most]


ARMS: dict[str, Callable[[Sequence[Decision]], list[Decision]]] = {
    "as they are": list,
    "weighed by votes": by_votes,
    "outvoted left out": majority_only,
}


def measure_teacher_noise(name: str, data: Path, size: Size) -> Section:
    """Agreement of each student, and its gain on learning everything as it is."""
    parts = _noisy(NOISY[name], size) if name in NOISY else parts_of(name, data, size)
    hits = {arm: np.concatenate([agreement_of(change(p.train), p.test) for p in parts]) for arm, change in ARMS.items()}
    held = [decision for part in parts for decision in part.test]
    flips = [count_flips(part.train) for part in parts]
    plain = hits["as they are"]
    rows, figures = [], {}
    for arm, mine in hits.items():
        found = compare_hits(mine, plain, held)
        figures[arm] = found._asdict()
        gain = "-" if arm == "as they are" else share(found.loss, found.interval)
        rows.append([name, _said(flips), arm, share(found.full), gain, f"{found.decisions:,} / {found.tasks:,}"])
    return Section(f"teacher-noise/{name}", f"{len(held):,} test decisions, {len(parts)} divisions by task", [
        Table(
            "Decisions on which the teacher flips",
            ["data", "training: recur / in states that flip / outvoted", "learned", "whole call, strict, %",
             "gain, points", "n / tasks"],
            rows,
            "Flips: another decision of the same teacher in the very same state. Paired; intervals resample tasks.",
        )
    ], figures=figures)  # fmt: skip


def _said(flips: Sequence[Flips]) -> str:
    each: list[Any] = [np.mean([getattr(f, name) for f in flips]) for name in ("recurring", "decisions", "outvoted")]
    return " / ".join(f"{mean:,.0f}" for mean in each)


def _noisy(rate: float, size: Size) -> list[Part]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.jsonl"
        write_traces(file, n=40 if size.quick else CONVERSATIONS, recurring=0.8, trials=TRIALS, flip_rate=rate)
        store = SqliteEventStore(Path(folder) / "log.db")
        try:
            decisions = read_traces([file], store).decisions
        finally:
            store.close()
    folded = list(zip(decisions, folds_by_task(decisions, 2, seed=0), strict=True))
    return [Part([d for d, f in folded if f != i], [d for d, f in folded if f == i]) for i in (0, 1)]
