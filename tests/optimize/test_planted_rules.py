"""Rules are planted in a model on the loopback; the optimizer finds them, within its budget, also after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.optimize.lm_server import Planted, serving

from ultracore.distillation.optimize import GEPAOptimizer
from ultracore.distillation.optimize.judging import Judge, one_at_a_time
from ultracore.distillation.students.prompted.chat import Chat
from ultracore.distillation.students.prompted.student import PromptedStudent

BUDGET = 260


def found(seed: int, n: int = 120) -> tuple[Planted, dict[str, Any]]:
    planted = Planted(seed)
    decisions = planted.decisions(n)
    with serving(planted) as url:
        judge = Judge(lambda prompt: PromptedStudent(prompt, Chat(url)), decisions)
        optimizer = GEPAOptimizer(budget=BUDGET, seed=seed, minibatch=20)
        result = asyncio.run(optimizer.optimize("Choose a tool.", decisions, one_at_a_time(judge)))
    return planted, result


def test_planted_rules_are_found_within_the_budget() -> None:
    planted, result = found(0)
    assert planted.known("Choose a tool.") == set()
    assert planted.known(result["optimized_prompt"]) == set(planted.rules)
    assert (result["initial_score"], result["final_score"]) == (0.0, 1.0)
    assert len(planted.requests) == result["evaluations"] <= BUDGET


@pytest.mark.slow
def test_planted_rules_are_found_in_nine_of_ten_seeds() -> None:
    outcomes = [found(seed) for seed in range(10)]
    complete = [planted.known(result["optimized_prompt"]) == set(planted.rules) for planted, result in outcomes]
    assert sum(complete) >= 9
    assert all(len(planted.requests) <= BUDGET for planted, _ in outcomes)


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on_to_the_same_prompt(tmp_path: Path) -> None:
    planted = Planted(3)
    traces = tmp_path / "traces.jsonl"
    traces.write_text("\n".join(json.dumps(line(planted, d)) for d in planted.decisions(160)))
    (tmp_path / "p.txt").write_text("Choose a tool.")

    def distill(home: str, *words: str) -> subprocess.Popen[str]:
        env = {**os.environ, "DISTILL_HOME": str(tmp_path / home), "DISTILL_ENCRYPT": "false"}
        code = "from ultracore.distillation.cli import main; main()"
        command = [sys.executable, "-c", code, *words]
        return subprocess.Popen(
            command, env=env, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def optimized(home: str, url: str) -> subprocess.Popen[str]:
        options = ["--imported", "--url", url, "--budget", "200", "--run-id", "r", "--out", f"{home}.txt"]
        return distill(home, "prompts", "optimize", "p.txt", *options)

    with serving(planted) as url:
        for home in ("whole", "killed"):
            distill(home, "import", "traces.jsonl").communicate()
        optimized("whole", url).communicate()
        whole = len(planted.requests)
        planted.requests.clear()
        process = optimized("killed", url)
        while len(planted.requests) < whole // 2:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = len(planted.requests)
        out, error = optimized("killed", url).communicate()
    assert "optimized" in out, error
    assert (tmp_path / "killed.txt").read_text() == (tmp_path / "whole.txt").read_text()
    assert planted.known((tmp_path / "whole.txt").read_text()) == set(planted.rules)
    assert before < whole
    assert len(planted.requests) - whole <= 30, "at most the batch under way was asked again"


def line(planted: Planted, decision: Any) -> dict[str, Any]:
    (call,) = decision.calls
    made = {"id": "c1", "type": "function", "function": {"name": call.name, "arguments": "{}"}}
    return {
        "messages": [*decision.state.messages, {"role": "assistant", "content": None, "tool_calls": [made]}],
        "tools": [tool.to_openai() for tool in planted.tools],
    }
