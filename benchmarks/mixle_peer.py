"""mixle 0.8.2 in an environment of its own, on single requests with slots.

It is installed by pip when it is asked for (`--with-mixle`), and never into the project's environment. It
answers or defers as it decides itself: there is no threshold to choose. What this file does not know: figures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.data import Part
from ultracore.distillation.agreement import infer_free_text
from ultracore.distillation.decisions import Decision, text_of
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall
from ultracore.distillation.train.evaluate import judge

__all__ = ["mixle"]

PACKAGES = ("mixle==0.8.2", "torch==2.13.0", "safetensors")
PROGRAM = """
import json, sys, time
from mixle.task import ToolSpec, distill_tool_caller
given = json.load(open(sys.argv[1]))
tools = [ToolSpec(*tool) for tool in given["tools"]]
answers = {text: call for text, call in given["train"]}
began = time.process_time()
caller = distill_tool_caller(
    lambda text: answers[text], list(answers), tools, seed=0,
    selector_kw={"student": "generative", "alpha": 0.1}, extractor_kw={"epochs": 200},
)
fit = time.process_time() - began
found, took = [], []
for text in given["test"]:
    began = time.process_time()
    call = caller.try_local(text)
    took.append(1000 * (time.process_time() - began))
    found.append(call)
json.dump({"fit": fit, "took": took, "found": found}, open(sys.argv[2], "w"), default=str)
"""


def mixle(part: Part) -> Any:
    """Fit and ask it, each in one process with one thread.

    Raises:
        CalledProcessError: It cannot be installed, or it fails.
    """
    from benchmarks.cross_validation import LEVELS, Measured, slim

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        answer = _run(home, part)
    proposals = [_proposal(call) for call in answer["found"]]
    judged = slim(judge(part.test, proposals, infer_free_text(part.train)))
    sent = [bool(proposal.calls) for proposal in proposals]
    return Measured(judged, dict.fromkeys(LEVELS, sent), answer["fit"], answer["took"], {})


def _run(home: Path, part: Part) -> dict[str, Any]:
    python = str(home / "venv/bin/python")
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    given = {
        "tools": [[tool.name, list(tool.properties), sorted(tool.required)] for tool in part.train[0].state.tools],
        "train": [[_text(d), {"tool": d.calls[0].name, "args": d.calls[0].arguments}] for d in part.train],
        "test": [_text(d) for d in part.test],
    }
    (home / "in.json").write_bytes(msgspec.json.encode(given))
    (home / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [python, str(home / "program.py"), str(home / "in.json"), str(home / "out.json")]
    subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(home)})
    found: dict[str, Any] = msgspec.json.decode((home / "out.json").read_bytes())
    return found


def _proposal(call: dict[str, Any] | None) -> Proposal:
    if call is None or call["tool"] is None:
        return Proposal()
    return Proposal((ToolCall(call["tool"], dict(call["args"])),), 1.0)


def _text(decision: Decision) -> str:
    return text_of(decision.state.messages[-1])
