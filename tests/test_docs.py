"""What the documents say is so: their code runs, their commands exist, their links resolve, their lists are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner

from ultracore.distillation.cli import main
from ultracore.distillation.log.importers.lines import SkipReason
from ultracore.distillation.log.importers.openai_chat import TOOLS_MISSING
from ultracore.distillation.report import result as shapes
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.train.baselines import BASELINES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[`\s/])distill ((?:[a-z]+ ?)+)")
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.M)


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def blocks(path: Path, language: str) -> list[str]:
    return [code for name, code in FENCE.findall(path.read_text()) if name == language]


def commands(group: Any = main, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*prefix, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))


def named(text: str) -> set[tuple[str, ...]]:
    """The command that each `distill ...` begins with; a word that is none stays, so that asking for its help fails."""
    found = set()
    for match in COMMAND.findall(text):
        group, command = main, ()
        for word in match.split():
            if not hasattr(group, "commands"):
                break
            command += (word,)
            group = group.commands.get(word)
        found.add(command)
    return found


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_code_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "none"}
    code = blocks(README, "python")[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "ModelTrainerAgent" in code:
        assert done.stdout.startswith("deployed "), done.stdout
        assert "'status': 'ok'" in done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_command_named_exists(document: Path) -> None:
    text = document.read_text()
    code = "\n".join([*(code for _, code in FENCE.findall(text)), *re.findall(r"`[^`\n]+`", text)])
    for command in named(code):
        outcome = CliRunner().invoke(main, [*command, "--help"])
        assert outcome.exit_code == 0, f"distill {' '.join(command)}: {outcome.output}"


def test_every_command_has_a_help_text_and_the_readme_names_each() -> None:
    text = README.read_text() + (ROOT / "CHANGELOG.md").read_text()
    for command in commands():
        outcome = CliRunner().invoke(main, [*command, "--help"])
        assert outcome.exit_code == 0
        assert "Usage:" in outcome.output
        assert f"distill {command[0]}" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_option_in_a_shell_line_exists(document: Path) -> None:
    for line in re.findall(r"distill [^`\n]*", document.read_text()):
        for command in named(line):
            text = re.findall(r"--[a-z-]+", CliRunner().invoke(main, [*command, "--help"]).output)
            for option in re.findall(r"(?<=\s)--[a-z-]+", line):
                assert option in text, f"{line}: {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_make_target_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"run", "test", "test-all", "bench", "lint"} <= targets
    assert set(TARGET.findall(document.read_text())) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_link_resolves(document: Path) -> None:
    prose = FENCE.sub("", document.read_text())
    local = [link.split("#")[0] for link in LINK.findall(prose) if "://" not in link]
    made = {"RESULTS.md"}  # by the benchmarks; a link may wait for it
    missing = [link for link in local if link not in made and not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_source_file_named_exists(document: Path) -> None:
    names = re.findall(r"`((?:[\w.]+/)*\w+\.py)`", document.read_text())
    files = [
        str(file) for folder in ("src", "benchmarks", "examples", "tests") for file in (ROOT / folder).rglob("*.py")
    ]
    missing = [name for name in names if not any(file.endswith(f"/{name}") for file in files)]
    assert missing == []


def test_result_md_has_every_key_that_a_result_may_have() -> None:
    shaped = {key for name in shapes.__all__ for key in getattr(shapes, name).__annotations__}
    certificate = {field.name for field in msgspec.structs.fields(Certificate)}
    text = (ROOT / "docs/result.md").read_text()
    written = set(re.findall(r"`([\w.]+)`", text))
    assert (shaped | certificate | set(BASELINES)) - written == set()


def test_traces_md_has_every_reason_for_leaving_something_out() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/traces.md").read_text().split("## What is left out")[1], re.M)
    assert sorted(rows) == sorted(get_args(SkipReason))
    assert f"`{TOOLS_MISSING}`" in (ROOT / "docs/traces.md").read_text()


def test_the_trace_of_traces_md_is_one(tmp_path: Path) -> None:
    from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat

    (line,) = blocks(ROOT / "docs/traces.md", "json")
    file = tmp_path / "traces.jsonl"
    file.write_bytes(msgspec.json.encode(msgspec.json.decode(line)))
    found = list(read_openai_chat(file))
    assert [item.event.tool_selected for item in found if isinstance(item, Imported)] == ["track_order", None]


def test_architecture_is_short_and_names_every_folder() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) < 150
    package = ROOT / "src/ultracore/distillation"
    parts = [p for p in package.iterdir() if p.name not in ("__init__.py", "__pycache__", "py.typed")]
    assert [p.name for p in parts if f"`{p.name}" not in text] == []


def test_documents_are_plain_about_their_figures() -> None:
    adjectives = (
        r"\b(blazing|seamless|powerful|robust|cutting-edge|state-of-the-art|effortless|world-class|lightning)\b"
    )
    assert [d.name for d in DOCUMENTS if re.search(adjectives, d.read_text(), re.I)] == []
