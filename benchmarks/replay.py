"""Does the log alone give the same model again? Two trainings in unlike processes, a replay, and projections.

What this file does not know: what a good model is.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data import BANK_CONVERSATIONS
from benchmarks.provenance import ROOT
from benchmarks.sections import Section, Table, number
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.projection import Projector, project
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.statistics import Statistics
from ultracore.distillation.teachers.scripted.traces import write_traces

__all__ = ["measure_replay"]

EVENTS = 50_000

LEARN = """
import sys
from pathlib import Path
from ultracore.distillation import loop
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import fingerprint

if __name__ == "__main__":
    result = loop.run([Path(sys.argv[1])], Path(sys.argv[2]), options=loop.Options(processes=int(sys.argv[3])))
    print(result["model_id"], fingerprint(result["certificate"]), result["data"]["decisions"])
"""


class Process(NamedTuple):
    """A process in which the bytes must come out the same."""

    hash_seed: int
    processes: int
    threads: int


PROCESSES = (Process(1, 1, 1), Process(2, 2, 2))


def measure_replay(*, quick: bool = False) -> Section:
    """Train twice, replay, project."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_traces(folder / "bank.jsonl", n=20 if quick else BANK_CONVERSATIONS)
        learned = [_learn(folder, process) for process in PROCESSES]
        replayed = _replay(folder / "home-1")
        figures = {"learned": learned, "replayed": replayed, **_projections(folder, 500 if quick else EVENTS)}
    about = f"synthetic example bank, {learned[0]['decisions']:,} decisions; {figures['events']:,} events to project"
    return Section("replay", about, [_sameness(figures), _rates(figures)], figures=figures)


def _learn(folder: Path, process: Process) -> dict[str, Any]:
    script = folder / "learn.py"
    script.write_text(LEARN, encoding="utf-8")
    words = [str(script), str(folder / "bank.jsonl"), str(folder / f"home-{process.hash_seed}"), str(process.processes)]
    out, cpu = _run(words, process)
    model, certificate, decisions = out.split()
    return {**process._asdict(), "model": model, "certificate": certificate, "decisions": int(decisions), "cpu": cpu}


def _replay(home: Path) -> dict[str, Any]:
    words = ["-c", "from ultracore.distillation.cli import main; main()", "replay", "--home", str(home), "--json"]
    out, cpu = _run(words, Process(3, 1, 2))
    return {"checks": {check[0]: check[3] for check in json.loads(out)["checks"]}, "cpu": cpu}


def _run(words: list[str], process: Process) -> tuple[str, float]:
    threads = {name: str(process.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    env = {**os.environ, **threads, "PYTHONHASHSEED": str(process.hash_seed)}
    before = _children()
    done = subprocess.run([sys.executable, *words], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _projections(folder: Path, n: int) -> dict[str, Any]:
    store = SqliteEventStore(folder / "log.db")
    store.append(_event(i) for i in range(n))
    projector = Projector(store, Statistics(), folder / "statistics.db")
    caught_up, again = _timed(projector.catch_up), _timed(projector.catch_up)
    past = _timed(lambda: project(store, Statistics(), n // 2))
    projector.close()
    store.close()
    return {"events": n, "catch_up": caught_up, "catch_up_again": again, "as_of_half": past}


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _event(i: int) -> AgentDecisionEvent:
    return AgentDecisionEvent.record(
        agent_id=f"agent-{i % 7}", context={"query": f"Where is my parcel {i}? It was due on Monday."},
        tool_selected="track", tool_parameters={"order": i}, tools_available=[{"name": "track"}],
    )  # fmt: skip


def _sameness(f: dict[str, Any]) -> Table:
    rows = [
        [
            f"training, {number(run['processes'], 0)} process(es), {number(run['threads'], 0)} BLAS thread(s) allowed",
            run["model"],
            run["certificate"],
            number(run["cpu"]),
        ]
        for run in f["learned"]
    ]
    verdicts = "; ".join(f"{what}: {verdict}" for what, verdict in f["replayed"]["checks"].items())
    return Table(
        "Replay (synthetic example bank)",
        ["what", "model", "certificate", "CPU, s"],
        [*rows, ["replay of the first from its log alone", verdicts, "", number(f["replayed"]["cpu"])]],
        "Each in a process of its own with another PYTHONHASHSEED; trained twice it must be one model.",
    )


def _rates(f: dict[str, Any]) -> Table:
    n = f["events"]
    rows = [
        ["catch up from the start", number(f["catch_up"], 2), number(n / f["catch_up"], 0)],
        ["catch up with nothing new", number(f["catch_up_again"], 4), "-"],
        ["state at half of the log, in memory", number(f["as_of_half"], 2), number(n / 2 / f["as_of_half"], 0)],
    ]
    return Table("Projections", ["what", "CPU, s", "events/s"], rows, f"{n:,} decisions, counted by agent and source.")
