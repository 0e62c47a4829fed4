from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ultracore.distillation import __version__
from ultracore.distillation.cli import THREADS, main
from ultracore.distillation.cli.advice import next_steps
from ultracore.distillation.cli.edge import Group
from ultracore.distillation.cli.progress import stages
from ultracore.distillation.cli.serve import gateway
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.settings import load_settings


def commands(group: Any = main, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [before]
    for name, command in group.commands.items():
        words = (*before, name)
        found += commands(command, words) if hasattr(command, "commands") else [words]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(distill: Any, words: tuple[str, ...]) -> None:
    outcome = distill(*words, "--help")
    assert outcome.code == 0
    assert "Example" in outcome.out
    assert f"distill {' '.join(words)}".strip() in outcome.out


def test_version(distill: Any) -> None:
    assert __version__ in distill("--version").out


def test_an_unknown_option_is_a_usage_error(distill: Any) -> None:
    outcome = distill("run", "--no-such-option")
    assert outcome.code == 2
    assert "No such option" in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--target", "1.5", "agreement_floor"),
        ("--target", "1", "strictly between 0 and 1"),
        ("--delta", "0", "strictly between 0 and 1"),
        ("--audit-rate", "2", "audit_rate"),
        ("--audit-rate", "nan", "audit_rate"),
        ("--seed", "-1", "seed"),
    ],
)
def test_a_number_out_of_range_is_said_before_any_work(
    distill: Any, traces: Path, option: str, value: str, says: str
) -> None:
    outcome = distill("run", traces, option, value)
    assert outcome.code == 2
    assert says in outcome.err
    assert "reading" not in outcome.err


def test_a_run_from_the_log_learns_what_was_imported(
    distill: Any, write_lines: Any, lines: Any, tmp_path: Path
) -> None:
    distill("import", write_lines(tmp_path / "few.jsonl", lines[:8]))
    assert "--imported" in distill("run", "--from-log").err
    outcome = distill("run", "--from-log", "--imported", "--processes", 1, "--out", "report")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "report" / "result.json").read_text(encoding="utf-8"))
    assert result["command"] == "distill run --from-log --imported --processes 1 --out report"
    assert result["data"]["files"] == [str(load_settings().home_path / "log.db")]


@pytest.mark.parametrize("words", [("x.jsonl", "--from-log"), ("x.jsonl", "--agent", "a"), ("--imported",)])
def test_options_of_the_log_go_with_from_log(distill: Any, words: tuple[str, ...]) -> None:
    outcome = distill("run", *words)
    assert outcome.code == 2
    assert "--from-log" in outcome.err


def test_import_twice_adds_nothing(distill: Any, traces: Path) -> None:
    first, second = distill("import", traces), distill("import", traces)
    assert "0 known" in first.out
    assert " 0 new decisions" in second.out


def test_log_commands_read_what_was_imported(distill: Any, traces: Path, home: Path) -> None:
    distill("import", traces)
    assert "AGENT_TOOL_SELECTED" in distill("log", "stats").out
    lines = distill("log", "tail", "-n", 2, "--json", "--home", home).out.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[-1])["metadata"]["event_type"] == "TRACES_IMPORTED"
    assert "TRACES_IMPORTED" in distill("log", "tail").out


def test_without_a_log_the_message_says_what_to_do(distill: Any) -> None:
    outcome = distill("log", "stats")
    assert outcome.code == 2
    assert "distill run" in outcome.err


def test_examples_never_go_into_a_log_of_real_traffic(
    distill: Any, home: Path, tmp_path: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultracore.distillation.cli.run.EXAMPLES", 30)
    used: list[Path] = []

    def stop(_: Any, home: Path, **__: Any) -> None:
        used.append(home)
        raise DataError("far enough")

    monkeypatch.setattr("ultracore.distillation.loop.run", stop)
    open_store(home)
    assert "far enough" in distill("run").err
    assert used == [tmp_path / "distill-report" / ".distill"]
    monkeypatch.setenv("DISTILL_LOG_URL", "postgresql://user@db/log")
    outcome = distill("run")
    assert (outcome.code, "synthetic" in outcome.err) == (2, True)
    monkeypatch.delenv("DISTILL_LOG_URL")
    read_traces([traces], open_store(tmp_path / "distill-report" / ".distill"))
    outcome = distill("run")
    assert (outcome.code, "traces.jsonl" in outcome.err, "--out" in outcome.err) == (2, True, True)


def test_settings_show_what_the_environment_says(distill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_PORT", "9123")
    assert json.loads(distill("settings", "--json").out)["port"] == 9123
    assert "DISTILL_PORT" in distill("settings").out


def test_a_wrong_setting_is_one_line(distill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_PORT", "many")
    outcome = distill("settings")
    assert (outcome.code, len(outcome.err.strip().splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "99999"), ("WORKERS", "0"), ("IDEMPOTENCY_SECONDS", "-1"), ("ALERT_LATENCY_MS", "nan")]
)
def test_no_setting_is_out_of_range(distill: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DISTILL_{name}", value)
    outcome = distill("settings")
    assert (outcome.code, f"$.{name.lower()}" in outcome.err) == (2, True)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"levels": 1}'], ids=["missing", "cut", "array", "other"])
def test_report_of_no_result_says_how_to_make_one(distill: Any, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content, encoding="utf-8")
    outcome = distill("report", tmp_path)
    assert outcome.code == 2
    assert "distill run" in outcome.err


def test_report_draws_the_page_again(distill: Any, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"test": {"whole_call": 0.5, "n": 10}}', encoding="utf-8")
    outcome = distill("report", tmp_path)
    assert outcome.code == 0
    assert "50.0%" in outcome.out
    assert "50.0%" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_serve_without_model_and_teacher_says_what_is_missing(distill: Any) -> None:
    outcome = distill("serve")
    assert outcome.code == 2
    assert "--upstream" in outcome.err


def test_serve_without_a_model_observes(home: Path) -> None:
    app, said = gateway(load_settings(upstream_url="http://127.0.0.1:9/v1"))
    assert app.state.gateway.gate is None
    assert "relayed" in said
    assert "dashboard at http://127.0.0.1:8080/" in said
    assert {"/", "/dashboard/figures.json"} <= {route.path for route in app.routes}
    with pytest.raises(ConfigurationError):
        gateway(load_settings())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (PermissionError(13, "denied", "f"), 2)])
def test_foreseen_ends_have_their_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    group = Group("g")

    @group.command("fail")
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        group.main(["fail"], prog_name="g")
    assert stop.value.code == code
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with stages(2, Console(stderr=True)) as say:
        say("first")
        say("second [brackets]")
    lines = capsys.readouterr().err.splitlines()
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]"]
    assert "[brackets]" in lines[1]


def test_progress_on_a_terminal_ends_clean() -> None:
    with stages(2, Console(force_terminal=True, stderr=True)) as say:
        say("first")


RESULT: dict[str, Any] = {
    "certificate": {"certified": True, "target": 0.93, "reason": "", "more_units": None, "units": 10},
    "data": {"kind": "teacher", "tasks": 50},
    "savings": {"yearly_usd": 1.0},
}


def test_next_steps_of_a_certified_student_serve_it(tmp_path: Path) -> None:
    out = tmp_path / "my report"
    assert f"distill serve --model '{out}'" in "\n".join(next_steps(RESULT, out, out / ".distill"))
    assert f"distill serve --model {tmp_path}/home" in "\n".join(next_steps(RESULT, out, tmp_path / "home"))


def test_next_steps_of_a_refused_one_say_how_much_more(tmp_path: Path) -> None:
    refused = {**RESULT, "certificate": {**RESULT["certificate"], "certified": False, "more_units": 20}}
    steps = "\n".join(next_steps({**refused, "savings": {}}, tmp_path, tmp_path))
    assert "100 more tasks (20 of them for calibration)" in steps
    assert "--price-per-call" in steps


def test_interrupted_run_leaves_a_valid_log_and_runs_again(traces: Path, home: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "from ultracore.distillation.cli import main; main()", "run", str(traces)]
    run = subprocess.Popen([*words, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    while "training" not in (line := run.stderr.readline()):
        assert line, "ended before the training"
    time.sleep(0.2)
    os.kill(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err.strip().splitlines()[-1] == "interrupted; the log is intact, run again"
    assert "Traceback" not in err
    store = SqliteEventStore(home / "log.db")
    events = list(store.read())
    store.close()
    assert [event.metadata.position for event in events] == list(range(1, len(events) + 1))
    assert "MODEL_TRAINED" not in {event.event_type for event in events}
    assert read_traces([traces], open_store(home)).report.decisions == 0  # a second run finds all of it


@pytest.mark.parametrize(("told", "expected"), [(None, "1"), ("4", "4")])
def test_every_command_computes_with_one_thread_unless_told_otherwise(
    distill: Any, monkeypatch: pytest.MonkeyPatch, told: str | None, expected: str
) -> None:
    for name in THREADS:
        monkeypatch.setenv(name, told) if told else monkeypatch.delenv(name, raising=False)
    assert distill("settings").code == 0
    assert {os.environ[name] for name in THREADS} == {expected}


def test_numpy_is_not_loaded_before_the_threads_are_set() -> None:
    program = "import sys, ultracore.distillation.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
