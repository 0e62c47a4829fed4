"""The benchmark of prompts on made-up rows: each way is there, seen rows are not tested on, gains are paired."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from benchmarks.data import Part, Size
from benchmarks.prompts import _run, measure_prompts

from benchmarks import prompts
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.optimize import GEPAOptimizer
from ultracore.distillation.tools import Tool, ToolCall

WORDS = {"weather_like": "umbrella", "music_like": "melody", "travel_like": "suitcase"}
FILLER = ["please", "somebody", "look", "after", "this", "thing", "today", "again"]


def said(word: str, draw: random.Random) -> str:
    return " ".join(draw.sample([word, *draw.sample(FILLER, 5), f"n{draw.randrange(10**6)}"], 7))


def part(train: int = 120, test: int = 60) -> Part:
    draw = random.Random(0)
    tools = [Tool(f"t{i}") for i in range(len(WORDS))]

    def decision(i: int) -> Decision:
        place = draw.randrange(len(WORDS))
        state = State([{"role": "user", "content": said(list(WORDS.values())[place], draw)}], tools)
        return Decision(state=state, calls=(ToolCall(f"t{place}", {}),), episode=str(i), task=str(i))

    rows = [decision(i) for i in range(train + test)]
    return Part(rows[:train], rows[train:])


def test_a_run_is_scored_on_rows_that_it_never_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "BUDGET", 300)
    given = part()
    run = _run(GEPAOptimizer, 0, given)
    assert sum(run.scores) / len(run.scores) > 0.8
    assert len(run.scores) == len(given.test)
    assert run.evaluations <= 300
    swapped = Part(given.train, [_other(decision) for decision in given.test])
    wrong = _run(GEPAOptimizer, 0, swapped)
    assert sum(wrong.scores) < 0.2 * len(wrong.scores), "it is the test part that is scored"
    assert wrong.gap > 0.6
    assert abs(run.gap) < 0.2


def test_the_table_has_each_way_with_n_and_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "BUDGET", 200)
    monkeypatch.setattr(prompts, "parts_of", lambda name, data, size: [part(80, 40), part(80, 40)])
    section = measure_prompts("metatool", tmp_path, Size(quick=True))
    (table,) = section.tables
    ways = {row[1]: row for row in table.rows}
    assert {"zero-shot", "50 by CaR", "50 at random", "demonstrations", "GEPA", "both"} <= set(ways)
    assert {"nearest neighbour (no prompt)", "TF-IDF + LR (no prompt)"} <= set(ways)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "80 test decisions of 40 tasks, 2 divisions, 3 tools" in section.about
    accuracy = {way: float(row[2].split()[0]) for way, row in ways.items()}
    gain = {way: float(row[3].split()[0]) for way, row in ways.items()}
    assert gain["both"] == pytest.approx(accuracy["both"] - accuracy["zero-shot"], abs=0.11)
    assert gain["zero-shot"] == 0.0
    assert "[" in ways["both"][2]
    assert "without a language model" in table.note


def _other(decision: Decision) -> Decision:
    """The same words, another tool."""
    place = (int(decision.action[1:]) + 1) % len(WORDS)
    return Decision(
        state=decision.state, calls=(ToolCall(f"t{place}", {}),), episode=decision.episode, task=decision.task
    )
