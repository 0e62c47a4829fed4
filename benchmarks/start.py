"""How long until something happens? Importing the package, and the whole loop on the example traces.

What this file does not know: what the loop does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.provenance import cpu_seconds
from benchmarks.sections import Section, Table
from ultracore.distillation.teachers.scripted.traces import write_traces

__all__ = ["import_times", "measure_start", "run_times"]

STATEMENTS = {
    "import ultracore.distillation": "import ultracore.distillation",
    "from it import AgentDecisionLogger": "from ultracore.distillation import AgentDecisionLogger",
    "from it import ModelTrainerAgent": "from ultracore.distillation import ModelTrainerAgent",
}
PROBE = """import sys, time
began = time.perf_counter()
{statement}
print(1000 * (time.perf_counter() - began), "numpy" in sys.modules)"""
DISTILL = [sys.executable, "-c", "from ultracore.distillation.cli import main; main()"]


def measure_start(*, quick: bool = False) -> Section:
    """Import times, then the loop."""
    imports = {name: import_times(code, 2 if quick else 10) for name, code in STATEMENTS.items()}
    rows = [[f"{name}, ms", *_spread(ms), "yes" if numpy else "no"] for name, (ms, numpy) in imports.items()]
    runs = run_times(1 if quick else 3, 60 if quick else 600)
    wall, cpu = zip(*runs, strict=True)
    rows += [["distill run, wall s", *_spread(wall), ""], ["distill run, CPU s", *_spread(cpu), ""]]
    table = Table("From a fresh process", ["what", "median", "range", "n", "numpy loaded"], rows)
    about = f"{60 if quick else 600} synthetic conversations for `distill run`; every start is a new process"
    figures = {"imports": {name: found[0] for name, found in imports.items()}, "runs": runs}
    return Section("start", about, [table], figures=figures)


def import_times(statement: str, n: int) -> tuple[list[float], bool]:
    """Milliseconds of an import in n fresh interpreters (after one that fills caches), and whether it loads numpy."""
    outputs = [_output([sys.executable, "-c", PROBE.format(statement=statement)]) for _ in range(n + 1)][1:]
    times, numpy = zip(*(line.split() for line in outputs), strict=True)
    return [float(ms) for ms in times], "True" in numpy


def run_times(n: int, conversations: int) -> list[tuple[float, float]]:
    """Wall and CPU seconds of `distill run` on the example traces, each in a new home."""
    with tempfile.TemporaryDirectory() as folder:
        traces = Path(folder) / "traces.jsonl"
        write_traces(traces, n=conversations)
        return [_run(Path(folder) / str(i), traces) for i in range(n)]


def _spread(values: Sequence[float]) -> list[str]:
    """Median, range and n."""
    return [f"{statistics.median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}", str(len(values))]


def _run(folder: Path, traces: Path) -> tuple[float, float]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    _output([*DISTILL, "run", str(traces), "--out", str(folder / "out")], DISTILL_HOME=str(folder / "home"))
    return time.perf_counter() - wall, cpu_seconds() - cpu


def _output(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed:\n{done.stderr}")
    return done.stdout
