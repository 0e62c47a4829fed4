"""`distill prompts` from a file of traces to a version in use, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ultracore.distillation.cli import main
from ultracore.distillation.teachers.scripted.traces import write_traces


def distill(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def optimized(tmp_path: Path) -> Result:
    write_traces(tmp_path / "traces.jsonl", n=60)
    (tmp_path / "p.txt").write_text("You help.")
    assert distill("import", str(tmp_path / "traces.jsonl"), "--agent", "bank").exit_code == 0
    words = [
        "prompts",
        "optimize",
        str(tmp_path / "p.txt"),
        "--imported",
        "--budget",
        "300",
        "--out",
        str(tmp_path / "o.txt"),
    ]
    return distill(*words)


def test_a_prompt_is_optimized_listed_shown_compared_used_and_rolled_back(optimized: Result, tmp_path: Path) -> None:
    assert optimized.exit_code == 0, optimized.output
    assert "optimized: " in optimized.output
    assert "evaluations: version" in optimized.output, "progress"
    assert "no figure for a language model" in optimized.output
    listed = [
        row.split()[0]
        for row in distill("prompts", "list").output.splitlines()
        if row[:8].strip().isalnum() and len(row.split()[0]) == 8
    ]
    first, last = listed[0], listed[-1]
    assert distill("prompts", "show", first).output == "You help.\n"
    assert distill("prompts", "show", last).output.strip() == (tmp_path / "o.txt").read_text().strip()
    assert "+## " in distill("prompts", "diff", first, last).output
    for version in (last, first):
        assert "in use" in distill("prompts", "use", version, "--reason", "try").output
        assert f"{version} *" in distill("prompts", "list").output
    tree = distill("prompts", "tree").output.splitlines()
    assert tree[0].startswith(first)
    assert all(line.startswith("  ") for line in tree[1:])
    page = tmp_path / "t.html"
    assert distill("prompts", "tree", "--html", str(page)).exit_code == 0
    text = page.read_text()
    assert "<polyline" in text
    assert text.count("<summary>") == len(listed)
    assert "http" not in text, "it loads nothing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "zz"], "no version"),
        (["use", ""], "no version"),
        (["optimize", "none.txt", "--imported"], "none.txt"),
        (["optimize", "p.txt", "--imported", "--url", "http://127.0.0.1:9/v1"], "cannot be reached"),
        (["optimize", "p.txt"], "--imported"),
        (["deploy"], "--url"),
        (["deploy", "--imported", "--url", "http://127.0.0.1:9/v1"], "no version is in use"),
        (["compare", "--imported"], "no version is in use"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_traces(tmp_path / "traces.jsonl", n=5)
    distill("import", str(tmp_path / "traces.jsonl"))
    (tmp_path / "p.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    result = distill("prompts", *words)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_too_few_tasks_are_said_before_anything_is_asked(tmp_path: Path) -> None:
    write_traces(tmp_path / "traces.jsonl", n=1)
    distill("import", str(tmp_path / "traces.jsonl"))
    (tmp_path / "p.txt").write_text("x")
    result = distill("prompts", "optimize", str(tmp_path / "p.txt"), "--imported")
    assert result.exit_code == 2
    assert "too few" in result.output
    assert "no version" in distill("prompts", "show", "a").output, "nothing was written"
