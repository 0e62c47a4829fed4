"""How fast is one core? Fitting, deciding, and writing decisions down.

Everything runs on the synthetic example bank. CPU time is what the work costs; wall time also holds
what the machine was doing besides. What this file does not know: how good the answers are.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data import bank
from benchmarks.sections import Section, Table, number
from ultracore.distillation import AgentDecisionLogger
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.train.fit import fit_compact

__all__ = ["first_tasks", "measure_speed"]

TRAIN = 3000
WRITERS = 64


class Took(NamedTuple):
    """Seconds of one piece of work."""

    cpu: float
    wall: float


def measure_speed(*, quick: bool = False) -> Section:
    """Fit, decide, log."""
    train, test = first_tasks(bank(60) if quick else bank(), 200 if quick else TRAIN)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fit = _timed(lambda: fit_compact(train).student.save(home / "student"))
        singles, batch = _in_new_process(home / "student", test)
        logged = _log_figures(home, 200 if quick else 5000)
    figures = {
        "train": len(train),
        "fit": fit._asdict(),
        "test": len(test),
        **_decision_figures(singles, batch),
        **logged,
    }
    about = f"synthetic example bank, {len(train):,} decisions to learn from, {len(test):,} of other tasks to decide"
    return Section("speed", about, [_table(figures)], figures=figures)


def first_tasks(decisions: Sequence[Decision], n: int) -> tuple[list[Decision], list[Decision]]:
    """The first n decisions of whole tasks (the last task may be cut), and those of all other tasks."""
    units = units_of(decisions)
    order = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    by_task = sorted(range(len(decisions)), key=lambda i: order[units[i]])
    train = by_task[:n]
    used = {units[i] for i in train}
    return [decisions[i] for i in train], [d for d, unit in zip(decisions, units, strict=True) if unit not in used]


def decide_one_by_one(folder: Path, decisions: Sequence[Decision]) -> tuple[list[Took], Took]:
    """What each decision takes a student just loaded, then what all of them take as a batch."""
    student = load_student(folder)
    student.propose(decisions[0].state)  # the first call imports and compiles
    singles = [_timed(lambda state=d.state: student.propose(state)) for d in decisions]  # type: ignore[misc]
    return singles, _timed(lambda: student.propose_batch([d.state for d in decisions]))


def _in_new_process(folder: Path, decisions: Sequence[Decision]) -> tuple[list[Took], Took]:
    """A process of its own, so that nothing is warm from the fit."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(decide_one_by_one, folder, list(decisions)).result()


def _timed(work: Callable[[], Any]) -> Took:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)


def _decision_figures(singles: Sequence[Took], batch: Took) -> dict[str, Any]:
    cpu, wall = (1000.0 * np.array(column) for column in zip(*singles, strict=True))
    quantiles = {
        f"{name}_ms": {f"p{q}": float(np.percentile(values, q)) for q in (50, 95, 99)}
        for name, values in (("cpu", cpu), ("wall", wall))
    }
    n = len(singles)
    return {**quantiles, "per_second": {"cpu": n / batch.cpu, "wall": n / batch.wall}, "batch": batch._asdict()}


def _log_figures(home: Path, n: int) -> dict[str, Any]:
    alone, together = _logger_times(home / "logger", n)
    store = SqliteEventStore(home / "log.db")
    events = [_event(i) for i in range(2 * n)]
    try:
        pipelined = _timed(lambda: [f.result() for f in [store.submit([event]) for event in events[:n]]])
        batch = _timed(lambda: store.append(events[n:]))
    finally:
        store.close()
    return {
        "log": {
            "n": n,
            "decision_ms": {f"p{q}": float(np.percentile(alone, q)) for q in (50, 99)},
            "decisions_per_second": n / together,
            "events_per_second": n / pipelined.wall,
            "events_per_second_one_batch": n / batch.wall,
        }
    }


def _logger_times(home: Path, n: int) -> tuple[list[float], float]:
    """Wall milliseconds of `log_decision`, one after the other; wall seconds of n by concurrent writers."""
    logger = AgentDecisionLogger(home=home)
    decision = _decision(0)

    async def one_by_one() -> list[float]:
        await logger.log_decision(**decision)
        took = []
        for _ in range(max(1, n // 10)):
            began = time.perf_counter()
            await logger.log_decision(**decision)
            took.append(1000.0 * (time.perf_counter() - began))
        return took

    async def writer() -> None:
        for _ in range(-(-n // WRITERS)):
            await logger.log_decision(**decision)

    async def together() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        return time.perf_counter() - began

    return asyncio.run(one_by_one()), asyncio.run(together())


def _decision(i: int) -> dict[str, Any]:
    return {
        "agent_id": "support",
        "context": {"messages": [{"role": "user", "content": f"Where is my parcel {i}? It was due on Monday."}]},
        "tools_available": [{"name": f"tool_{k}", "description": "One of the tools."} for k in range(10)],
        "tool_selected": "tool_3",
        "tool_parameters": {"order": str(i)},
        "confidence": 0.9,
    }


def _event(i: int) -> AgentDecisionEvent:
    return AgentDecisionEvent.record(**_decision(i))


def _table(f: dict[str, Any]) -> Table:
    cpu, wall, log = f["cpu_ms"], f["wall_ms"], f["log"]
    n, logged = number(f["test"], 0), number(log["n"], 0)
    rows = [
        ["fit and save the student, s", number(f["fit"]["cpu"]), number(f["fit"]["wall"]), number(f["train"], 0)],
        *([f"one decision, p{q}, ms", number(cpu[f"p{q}"]), number(wall[f"p{q}"]), n] for q in (50, 95, 99)),
        ["decisions a second, one core", number(f["per_second"]["cpu"], 0), number(f["per_second"]["wall"], 0), n],
        ["log_decision, p50, ms", "-", number(log["decision_ms"]["p50"], 2), number(max(1, log["n"] // 10), 0)],
        ["log_decision, p99, ms", "-", number(log["decision_ms"]["p99"], 2), number(max(1, log["n"] // 10), 0)],
        [f"log_decision a second, {WRITERS} writers", "-", number(log["decisions_per_second"], 0), logged],
        ["events appended a second, one each, pipelined", "-", number(log["events_per_second"], 0), logged],
        ["events appended a second, one batch", "-", number(log["events_per_second_one_batch"], 0), logged],
    ]
    return Table(
        "Speed (synthetic example bank)",
        ["what", "CPU", "wall", "n"],
        rows,
        "Single decisions are on states not seen before, by a student loaded into a new process; decisions a second "
        "are on the same states once more. Logged means synced to disk.",
    )
