"""How much prompts gain, read by the offline reader: no language model takes part, so its figures are none of one.

The prompt at first is one sentence; the reader sees the tools' names and descriptions as they were offered. Each
method gets the training rows and `BUDGET` evaluations; the final prompt is scored on the set's own test rows, which
no search saw: the first division of a large set, all five of a small one. What this file does not know: how prompts
are optimized.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data import Part, Size, parts_of, sample
from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.agents.demonstrating import representatives
from ultracore.distillation.agreement import same_tools
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer
from ultracore.distillation.optimize.demonstrations import with_demonstrations
from ultracore.distillation.optimize.examples import shown
from ultracore.distillation.optimize.figures import Estimate, difference, mean
from ultracore.distillation.optimize.judging import Judge
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.prompted.prompt import Demonstration
from ultracore.distillation.students.prompted.reader import Reader
from ultracore.distillation.train.baselines import NearestNeighbour, TfidfLogisticRegression

__all__ = ["SETS", "measure_prompts"]

SETS = ("metatool", "banking77", "telecom")
METHODS: dict[str, Any] = {"demonstrations": DSPyOptimizer, "GEPA": GEPAOptimizer, "both": CombinedOptimizer}
PROMPT = "Choose a tool."
BUDGET = 2000
DEMONSTRATIONS = 50
MINIBATCH = 40
SEEDS = (0, 1, 2)
COLUMNS = [
    *("set", "prompt", "test accuracy (tool)", "over zero-shot", "over demonstrations", "selection - test"),
    *("over-fit", "evaluations", "CPU s", "characters"),
]
TRAIN_ROWS, TEST_ROWS = 8000, 3000

Answers = Callable[[Part], list[float]]
"""A part -> the score (0..1) of each test decision."""


class Measured(NamedTuple):
    """One way, over all divisions and seeds.

    Attributes:
        scores: Of each test decision, mean over seeds.
        gaps: Selection less test score, of each run.
        overfit: The same of the gain over the first prompt: what of the gap is not one part being harder.
        evaluations: Of each run.
        cpu: Seconds of each run.
        length: Characters of each prompt.
    """

    scores: list[float]
    gaps: Sequence[float] = ()
    overfit: Sequence[float] = ()
    evaluations: Sequence[int] = ()
    cpu: Sequence[float] = ()
    length: Sequence[int] = ()


class Optimized(NamedTuple):
    """One run."""

    scores: list[float]
    gap: float
    overfit: float
    evaluations: int
    cpu: float
    length: int


def measure_prompts(name: str, data: Path, size: Size) -> Section:
    """One set of data."""
    parts = [_rows(part, quick=size.quick) for part in parts_of(name, data, Size(full=True))]
    seeds = SEEDS[:1] if size.quick else SEEDS
    ways = {
        "zero-shot": _each(parts, lambda part: _read(PROMPT, part)),
        "15 by CaR": _each(parts, lambda part: _shown(representatives(part.train, 15), part)),
        "15 at random": _each(parts, lambda part: _shown(random.Random(0).sample(part.train, 15), part)),
        "50 by CaR": _each(parts, lambda part: _shown(representatives(part.train, 50), part)),
        "50 at random": _each(parts, lambda part: _shown(random.Random(0).sample(part.train, 50), part)),
        **{name: _optimized(cls, seeds, parts) for name, cls in METHODS.items()},
        "nearest neighbour (no prompt)": _each(parts, lambda part: _baseline(NearestNeighbour(), part)),
        "TF-IDF + LR (no prompt)": _each(parts, lambda part: _baseline(TfidfLogisticRegression(0), part)),
    }
    units = [f"{unit}" for part in parts for unit in units_of(part.test)]
    zero, shown_ = ways["zero-shot"].scores, ways["demonstrations"].scores
    rows = [_row(name, label, way, zero, shown_, units) for label, way in ways.items()]
    note = (
        f"Read by the offline reader, without a language model. Mean of {len(seeds)} seeds; intervals over whole test "
        "tasks, gains paired by decision; selection - test with the least and the most of all runs (of telecom, each "
        "seed in each division); over-fit is the same of the gain over zero-shot. At most "
        f"{BUDGET:,} evaluations and {DEMONSTRATIONS} demonstrations each. CPU s and characters are means."
    )
    about = (
        f"{len(parts[0].train):,} training decisions, {len(units):,} test decisions of {len(set(units)):,} tasks, "
        f"{len(parts)} divisions, {len({tool.name for d in parts[0].train for tool in d.state.tools})} tools"
    )
    table = Table("Prompts, by the offline reader", COLUMNS, rows, note)
    figures = {label: {**way._asdict(), "scores": mean(way.scores)} for label, way in ways.items()}
    return Section(f"prompts/{name}", about, [table], figures=figures)


def _each(parts: Sequence[Part], answers: Answers) -> Measured:
    began = time.process_time()
    scores = [score for part in parts for score in answers(part)]
    return Measured(scores, cpu=[(time.process_time() - began) / len(parts)])


def _optimized(cls: Any, seeds: Sequence[int], parts: Sequence[Part]) -> Measured:
    runs = {seed: [_run(cls, seed, part) for part in parts] for seed in seeds}
    of_seed = [[score for run in runs[seed] for score in run.scores] for seed in seeds]
    flat = [run for seed in seeds for run in runs[seed]]
    return Measured(
        [mean(scores) for scores in zip(*of_seed, strict=True)],
        [run.gap for run in flat],
        [run.overfit for run in flat],
        [run.evaluations for run in flat],
        [run.cpu for run in flat],
        [run.length for run in flat],
    )


def _run(cls: Any, seed: int, part: Part) -> Optimized:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteEventStore(Path(folder) / "log.db")
        options = {"demonstrations": DEMONSTRATIONS, "minibatch": MINIBATCH, "select": representatives}
        optimizer = cls(budget=BUDGET, seed=seed, store=store, **options)
        began = time.process_time()
        result = asyncio.run(optimizer.optimize(PROMPT, part.train, Judge(Reader, part.train)))
        cpu = time.process_time() - began
        store.close()
    scores = _read(result["optimized_prompt"], part)
    gap = result["selection_score"] - mean(scores)
    overfit = gap - (result["candidates"][0]["score"] - mean(_read(PROMPT, part)))
    return Optimized(scores, gap, overfit, result["evaluations"], cpu, result["length"]["after"])


def _rows(part: Part, *, quick: bool) -> Part:
    rows, test_rows = (300, 100) if quick else (TRAIN_ROWS, TEST_ROWS)
    return Part(sample(part.train, rows), sample(part.test, test_rows))


def _read(prompt: str, part: Part) -> list[float]:
    return list(Judge(Reader)(prompt, part.test).scores)


def _shown(chosen: Sequence[Decision], part: Part) -> list[float]:
    return _read(with_demonstrations(PROMPT, [Demonstration(*shown(d)[:2]) for d in chosen]), part)


def _baseline(baseline: Any, part: Part) -> list[float]:
    baseline.fit(part.train)
    answers = baseline.predict(part.test)
    return [float(same_tools(calls, d.calls)) for calls, d in zip(answers, part.test, strict=True)]


def _row(
    name: str, label: str, way: Measured, zero: Sequence[float], shown_: Sequence[float], units: Sequence[str]
) -> list[str]:
    accuracy = difference(way.scores, [0.0] * len(units), units) or Estimate(mean(way.scores), 0.0)
    return [
        name,
        label,
        share(accuracy.value, accuracy.ends),
        _gain(way.scores, zero, units),
        _gain(way.scores, shown_, units),
        _range(way.gaps),
        _range(way.overfit),
        number(mean([float(n) for n in way.evaluations]), 0) if way.evaluations else "-",
        number(mean(way.cpu)),
        number(mean([float(n) for n in way.length]), 0) if way.length else "-",
    ]


def _range(values: Sequence[float]) -> str:
    percent = [100 * value for value in values]
    return f"{mean(percent):+.1f} ({min(percent):+.1f} to {max(percent):+.1f})" if percent else "-"


def _gain(scores: Sequence[float], before: Sequence[float], units: Sequence[str]) -> str:
    gain = difference(scores, before, units)
    return "-" if gain is None else f"{100 * gain.value:+.1f} [{100 * gain.ends[0]:.1f}, {100 * gain.ends[1]:.1f}]"
