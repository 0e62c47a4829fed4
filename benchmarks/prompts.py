"""How much prompts gain, read by the offline reader: no language model takes part, so its figures are none of one.

The prompt at first is one sentence; the reader sees the tools' names and descriptions as they were offered. Each
method gets the training rows and `BUDGET` evaluations; the final prompt is scored on the set's own test rows,
which no search saw. What this file does not know: how prompts are optimized.
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
from ultracore.distillation.agreement import same_tools
from ultracore.distillation.curate import CaR
from ultracore.distillation.curate.embed import embed_decisions
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer
from ultracore.distillation.optimize.demonstrations import with_demonstrations
from ultracore.distillation.optimize.examples import shown
from ultracore.distillation.optimize.figures import mean, wilson
from ultracore.distillation.optimize.judging import Judge
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.prompted.prompt import Demonstration
from ultracore.distillation.students.prompted.reader import Reader
from ultracore.distillation.train.baselines import NearestNeighbour, TfidfLogisticRegression

__all__ = ["SETS", "measure_prompts"]

SETS = ("metatool", "banking77", "telecom")
METHODS: dict[str, Any] = {"dspy": DSPyOptimizer, "gepa": GEPAOptimizer, "combined": CombinedOptimizer}
PROMPT = "Choose a tool."
BUDGET = 2000
DEMONSTRATIONS = 50
MINIBATCH = 60
SEEDS = (0, 1, 2)
COLUMNS = [
    *("set", "method", "test accuracy (tool)", "over zero-shot", "selection - test", "evaluations", "CPU s"),
    "characters",
]
TRAIN_ROWS, TEST_ROWS = 8000, 1000


class Measured(NamedTuple):
    """One method with one seed."""

    accuracy: float
    gap: float | None
    evaluations: int
    cpu: float
    length: int


def measure_prompts(name: str, data: Path, size: Size) -> Section:
    """One set of data."""
    train, test = _rows(parts_of(name, data, Size(full=True))[0], quick=size.quick)
    judge, units = Judge(Reader, train), len(set(units_of(test)))
    seeds = SEEDS[:1] if size.quick else SEEDS
    zero = mean(judge(PROMPT, test).scores)
    found = {method: [_optimized(method, seed, train, test, judge) for seed in seeds] for method in METHODS}
    chosen = {"50 by CaR": _by_car(train), "50 at random": random.Random(0).sample(train, min(50, len(train)))}
    rows = [_row(name, "zero-shot", [Measured(zero, None, 0, 0.0, len(PROMPT))], zero, units)]
    for label, decisions in chosen.items():
        prompt = with_demonstrations(PROMPT, [Demonstration(*shown(d)[:2]) for d in decisions])
        accuracy = mean(judge(prompt, test).scores)
        rows.append(_row(name, label, [Measured(accuracy, None, 0, 0.0, len(prompt))], zero, units))
    rows += [_row(name, method, measured, zero, units) for method, measured in found.items()]
    for label, baseline in (("nearest neighbour", NearestNeighbour()), ("TF-IDF + LR", TfidfLogisticRegression(0))):
        accuracy, cpu = _timed(lambda baseline=baseline: _baseline(baseline, train, test))  # type: ignore[misc]
        rows.append(_row(name, label, [Measured(accuracy, None, 0, cpu, 0)], zero, units))
    note = (
        f"Read by the offline reader, without a language model. Mean of {len(seeds)} seeds; Wilson's intervals over "
        f"test units. At most {BUDGET:,} evaluations each, up to {DEMONSTRATIONS} demonstrations."
    )
    tools = len({tool.name for decision in train for tool in decision.state.tools})
    about = f"{len(train):,} training and {len(test):,} test decisions, {tools} tools"
    figures = {"zero": zero, **{method: [m._asdict() for m in measured] for method, measured in found.items()}}
    return Section(
        f"prompts/{name}", about, [Table("Prompts, by the offline reader", COLUMNS, rows, note)], figures=figures
    )


def _optimized(method: str, seed: int, train: list[Decision], test: list[Decision], judge: Judge) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteEventStore(Path(folder) / "log.db")
        optimizer = METHODS[method](
            budget=BUDGET, demonstrations=DEMONSTRATIONS, minibatch=MINIBATCH, seed=seed, store=store
        )
        result, cpu = _timed(lambda: asyncio.run(optimizer.optimize(PROMPT, train, judge)))
        store.close()
    accuracy = mean(judge(result["optimized_prompt"], test).scores)
    length = result["length"]["after"]
    return Measured(accuracy, result["selection_score"] - accuracy, result["evaluations"], cpu, length)


def _rows(part: Part, *, quick: bool) -> tuple[list[Decision], list[Decision]]:
    rows, test_rows = (300, 100) if quick else (TRAIN_ROWS, TEST_ROWS)
    return sample(part.train, rows), sample(part.test, test_rows)


def _by_car(train: list[Decision]) -> list[Decision]:
    rows: list[Any] = list(train)
    chosen, _ = asyncio.run(CaR(10, 5).select_representatives(rows, embed_decisions(train)))
    return [item if isinstance(item, Decision) else Decision.from_row(item) for item in chosen]


def _baseline(baseline: Any, train: Sequence[Decision], test: Sequence[Decision]) -> float:
    baseline.fit(train)
    return mean([float(same_tools(calls, d.calls)) for calls, d in zip(baseline.predict(test), test, strict=True)])


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def _row(name: str, method: str, measured: Sequence[Measured], zero: float, units: int) -> list[str]:
    accuracy = mean([m.accuracy for m in measured])
    gaps = [m.gap for m in measured if m.gap is not None]
    return [
        name,
        method,
        share(accuracy, wilson(accuracy, units)),
        f"{100 * (accuracy - zero):+.1f}",
        f"{100 * mean(gaps):+.1f}" if gaps else "-",
        number(mean([float(m.evaluations) for m in measured]), 0),
        number(mean([m.cpu for m in measured])),
        number(mean([float(m.length) for m in measured]), 0) if measured[0].length else "-",
    ]
