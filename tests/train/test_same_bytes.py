"""The same data and seed give the same bytes and the same answers, in every process.

A set's order differs from process to process (`PYTHONHASHSEED`): whatever adds up or picks in that order does not
reproduce, neither in training nor after a restart of the gateway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ultracore.distillation.teachers.scripted.traces import conversations

FIT = """
import sys
from pathlib import Path
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.train.fit import fit_compact

folder, traces = map(Path, sys.argv[1:])
decisions = read_traces([traces], open_store(folder)).decisions
student = fit_compact(decisions[::2]).student
answers = [[p.calls, p.confidence] for p in student.propose_batch([d.state for d in decisions[1::2]])]
print(student.save(folder / "model"), fingerprint(answers))
"""


ASK = """
import sys
from pathlib import Path
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.tools import fingerprint

folder, traces, home = map(Path, sys.argv[1:4])
student = load_student(folder)
states = [d.state for d in read_traces([traces], open_store(home)).decisions[1::8]]
rounds = {fingerprint([[p.calls, p.confidence] for p in student.propose_batch(states)]) for _ in range(int(sys.argv[4]))}
print(len(states), *rounds)
"""


def ask(tmp_path: Path, name: str, threads: int, times: int) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    paths = [tmp_path / "1" / "model", tmp_path / "traces.jsonl", tmp_path / name]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, paths), str(times)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fit(folder: Path, traces: Path, hash_seed: int) -> str:
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(folder), str(traces)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def hash_seeds(tmp_path: Path, n: int, seeds: int) -> set[str]:
    traces = tmp_path / "traces.jsonl"
    traces.write_text("".join(json.dumps(line) + "\n" for line in conversations(n, seed=3)), encoding="utf-8")
    return {fit(tmp_path / str(seed), traces, seed) for seed in range(1, 1 + seeds)}


def test_the_order_of_a_set_changes_nothing(tmp_path: Path) -> None:
    assert len(hash_seeds(tmp_path, n=12, seeds=2)) == 1


def same_answers(tmp_path: Path, times: int) -> bool:
    hash_seeds(tmp_path, n=12, seeds=1)
    said = [ask(tmp_path, name, threads, times) for name, threads in (("a", 1), ("again", 1), ("two", 2))]
    return len(set(said)) == 1 and len(said[0].split()) == 2


def test_a_restart_and_another_number_of_threads_change_no_answer(tmp_path: Path) -> None:
    assert same_answers(tmp_path, 5)


@pytest.mark.slow
def test_a_thousand_times_the_same_answer(tmp_path: Path) -> None:
    assert same_answers(tmp_path, 1000)


@pytest.mark.slow
def test_the_order_of_a_set_changes_nothing_at_length(tmp_path: Path) -> None:
    assert len(hash_seeds(tmp_path, n=60, seeds=5)) == 1
