from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from benchmarks.__main__ import main
from benchmarks.cross_validation import LEVELS, STUDENT, Comparison, Measured, compare
from benchmarks.data import FILES, MissingDataError, Part, Size, bank, decisions_of, parts_of, sample
from benchmarks.load import post, run_load
from benchmarks.postgres_server import PostgresServer
from benchmarks.sections import Section, Table, load_sections, markdown, renewed, save, share
from benchmarks.servers import started
from benchmarks.speed import first_tasks
from benchmarks.start import import_times

from benchmarks import mixle_peer, replay, splits, students
from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall
from ultracore.distillation.train.evaluate import Judged, judge
from ultracore.distillation.train.thresholds import Outcome

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("ship", "refund")]


def line(i: int) -> dict[str, object]:
    tool = "ship" if i % 2 else "refund"
    call = {"tool_calls": [{"name": tool, "arguments": {"order": f"#{i}"}}]}
    return {
        "episode": f"{i}#0", "task": str(i), "trial": None, "step": 0, "teacher": "made up",
        "tools_ref": "t", "system_ref": "s", "messages": [{"role": "user", "content": f"{tool} order #{i}"}],
        "decision": {"content": "Hello"} if i % 5 == 0 else call,
    }  # fmt: skip


def write(file: Path, value: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(value.encode()))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Made rows, where the SNIPS rows would lie."""
    folder = tmp_path / "data"
    for name, rows in (("train", range(60)), ("test", range(60, 90))):
        write(folder / f"snips/{name}.jsonl.gz", "\n".join(json.dumps(line(i)) for i in rows))
    write(folder / "snips/tools.json.gz", json.dumps({"t": TOOLS}))
    write(folder / "snips/systems.json.gz", json.dumps({"s": "Be kind."}))
    return folder


def judged(confidence: list[float], agrees: list[bool], calls: int | None = None) -> list[Judged]:
    """One task each; the first `calls` proposals are calls, the others replies."""
    n = len(agrees) if calls is None else calls
    teacher, other = (ToolCall("f", {"x": x}) for x in (1, 2))
    decisions = [
        Decision(state=State([], []), calls=(teacher if ok else other,) if i < n else (), episode=str(i), task=str(i))
        for i, ok in enumerate(agrees)
    ]
    proposals = [Proposal((teacher,) if i < n else (), c) for i, c in enumerate(confidence)]
    return judge(decisions, proposals, Comparators())


def test_a_line_becomes_a_decision_with_its_prompt_and_its_tools(data: Path) -> None:
    first, second = decisions_of("snips", data)[:2]
    assert [message["role"] for message in first.state.messages] == ["system", "user"]
    assert not first.is_call
    assert first.reply == "Hello"
    assert second.calls == (ToolCall("ship", {"order": "#1"}),)
    assert [tool.name for tool in second.state.tools] == ["ship", "refund"]
    assert (second.task, second.trial) == ("1", 0)


def test_data_that_is_not_there_is_skipped_and_says_where_it_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingDataError, match=r"needs data at .*airline"):
        decisions_of("airline", tmp_path)
    out = tmp_path / "out"
    assert main(["students", "--only", "airline", "--data", str(tmp_path), "--out", str(out)]) == 0
    assert "students/airline: skipped: needs data at" in capsys.readouterr().out
    assert not out.exists()


def test_teachers_share_tasks_but_no_episode_and_folds_share_no_task(data: Path) -> None:
    for file in FILES["telecom"]:
        write(data / f"{file}.jsonl.gz", "\n".join(json.dumps(line(i)) for i in range(10)))
    for name in ("tools", "systems"):
        write(
            data / f"tau2-bench/{name}.json.gz", gzip.decompress((data / f"snips/{name}.json.gz").read_bytes()).decode()
        )
    parts = parts_of("telecom", data)
    assert len(parts) == 5
    for part in parts:
        assert (len(part.train), len(part.test)) == (24, 6)
        assert not {d.task for d in part.train} & {d.task for d in part.test}
    tested = [d for part in parts for d in part.test]
    assert (len({d.episode for d in tested}), len({d.task for d in tested})) == (30, 10)


def test_dialogue_folds_hold_the_calls_of_the_training_file_and_share_no_task(data: Path) -> None:
    write(data / "sgd/train.jsonl.gz", gzip.decompress((data / "snips/train.jsonl.gz").read_bytes()).decode())
    write(data / "sgd/tools.json.gz", json.dumps({"t": TOOLS}))
    parts = parts_of("sgd-folds", data)
    assert len(parts) == 5
    assert all(d.is_call for part in parts for d in [*part.train, *part.test])
    assert all({d.task for d in part.train}.isdisjoint(d.task for d in part.test) for part in parts)
    assert sorted(int(d.task) for part in parts for d in part.test) == [i for i in range(60) if i % 5]


def test_the_quick_bank_is_small_and_needs_no_data() -> None:
    parts = parts_of("bank", Path("nowhere"), Size(quick=True))
    assert len(parts) == 2
    assert sum(len(part.test) for part in parts) < 1000


def test_a_sample_keeps_its_order_and_depends_on_the_seed(data: Path) -> None:
    rows = decisions_of("snips", data)
    drawn = sample(rows, 20, seed=1)
    assert drawn == sorted(drawn, key=rows.index)
    assert len({d.task for d in drawn}) == 20
    assert drawn != sample(rows, 20, seed=2)


def test_the_oracle_sends_calls_only_and_as_many_as_agree_at_the_level() -> None:
    rows = judged([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
    assert students.oracle_coverage(rows, 0.9) == 0.75
    assert students.oracle_coverage(rows, 0.7) == 1.0
    replies = judged([0.9, 0.8, 0.7, 0.6], [True] * 4, calls=2)
    assert students.oracle_coverage(replies, 0.9) == 0.5


def test_coverage_is_of_all_decisions_and_agreement_of_the_calls_sent() -> None:
    rows = judged([0.9, 0.8, 0.7, 0.6], [True, False, True, True], calls=3)
    sent = {level: [True, True, False, False] for level in LEVELS}
    measured = Measured(rows, sent, 1.0, [1.0] * 4, {})
    gate = students.figures_of([Comparison({STUDENT: measured}, 9)])["methods"][STUDENT]["coverage"]["0.93"]
    assert (gate["sent"], gate["coverage"], gate["agreement"], gate["agreement_tolerant"]) == (2, 0.5, 0.5, 0.5)


def test_figures_of_a_comparison_count_what_the_gate_sends(data: Path) -> None:
    part = parts_of("snips", data)[0]
    comparison = compare(part)
    found = students.figures_of([comparison])
    assert found["trained_on"] == [60]
    assert set(found["methods"]) == {STUDENT, "majority", "nearest_neighbour", "tfidf_logistic_regression"}
    for name, method in found["methods"].items():
        measured = comparison.methods[name]
        assert method["test"]["n"] == 30 == method["latency_cpu_ms"]["n"]
        for level, gate in method["coverage"].items():
            sent = measured.sent[float(level)]
            assert gate["sent"] == sum(sent)
            assert gate["coverage"] == pytest.approx(sum(sent) / 30)
            agreeing = [row.whole for row, s in zip(measured.judged, sent, strict=True) if s]
            assert gate["agreement"] == (pytest.approx(sum(map(bool, agreeing)) / len(agreeing)) if agreeing else None)
    msgspec.json.encode(found)


def test_there_is_one_row_for_each_method(data: Path) -> None:
    section = students.measure_students("snips", data, Size(quick=True), processes=1)
    who = [row[1] for row in section.tables[0].rows]
    assert who == [STUDENT, "majority", "nearest_neighbour", "tfidf_logistic_regression"]
    assert {len(row) for row in section.tables[0].rows} == {len(section.tables[0].columns)}


def test_what_mixle_answers_becomes_a_proposal_and_what_it_defers_none() -> None:
    assert mixle_peer._proposal(None) == Proposal()
    assert mixle_peer._proposal({"tool": None, "args": {}}) == Proposal()
    found = mixle_peer._proposal({"tool": "f", "args": {"x": 1}})
    assert found.calls == (ToolCall("f", {"x": 1}),)


def test_trials_split_the_unseen_tasks_into_halves(data: Path) -> None:
    rows = decisions_of("snips", data)
    trials = splits.trials_of(Part(rows[:50], rows[50:]), splits=2, seed=0)
    assert [len(found) for found in trials.values()] == [2, 2]
    for trial in (trial for found in trials.values() for trial in found):
        assert trial.units == 20
        assert trial.certified.decisions == trial.tuned.decisions == 20
        assert trial.issued or not trial.certified.sent


def test_the_upper_bound_is_exact() -> None:
    assert splits.upper_bound(Outcome(10, 0, 0)) == 1.0
    assert splits.upper_bound(Outcome(10, 4, 4)) == 1.0
    assert splits.upper_bound(Outcome(10, 10, 9)) == pytest.approx(0.95**0.1, abs=1e-3)  # none-but-one of ten


def test_tasks_to_decide_are_others_than_those_learnt_from() -> None:
    rows: list[Decision] = bank(20)
    train, test = first_tasks(rows, 50)
    assert len(train) == 50
    assert test
    assert not {d.task for d in train} & {d.task for d in test}


def test_importing_is_timed_and_loads_no_numpy() -> None:
    milliseconds, has_numpy = import_times("import ultracore.distillation", 1)
    assert len(milliseconds) == 1
    assert not has_numpy
    assert import_times("import numpy", 1)[1]


def test_a_section_comes_back_and_tables_of_one_title_are_one(tmp_path: Path) -> None:
    provenance = {
        "command": "c", "commit": "abc", "date": "d", "machine": "m", "versions": {"python": "3"},
        "load_before": 1, "load_after": 2, "cpu_seconds": 3,
    }  # fmt: skip
    for name in ("b/1", "b/2"):
        details = [Table("D", ["y"], [["fine print"]])]
        section = Section(name, "n rows", [Table("T", ["x"], [[name]])], provenance=provenance, details=details)
        save(section, tmp_path)
    text = markdown(load_sections(tmp_path))
    assert "fine print" not in text
    assert "fine print" in markdown(load_sections(tmp_path), details=True)
    assert text.count("**T**") == 1
    assert text.index("| b/1 |") < text.index("| b/2 |")
    assert "* b/1: n rows. `c` at abc, d, m, python 3; load average 1 before and 2 after, 3 CPU s" in text


def test_a_share_is_in_per_cent_with_its_interval() -> None:
    assert share(0.1234, (0.1, 0.15)) == "12.3 [10.0, 15.0]"


def test_the_whole_command_on_made_data(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["students", "splits", "--only", "snips", "--data", str(data), "--out", str(out), "--processes", "1"]
    assert main(words) == 0
    assert {file.name for file in out.iterdir()} == {"students-snips.json", "splits-snips.json"}
    printed = capsys.readouterr().out
    assert "| snips | compact student | 30 / 30 |" in printed
    assert str(tmp_path) not in printed


def test_a_wrong_name_and_quick_results_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in ((["nonsense"], "no benchmark is called nonsense"), (["--quick", "--write"], "--quick")):
        with pytest.raises(SystemExit):
            main(words)
        assert says in capsys.readouterr().err


def test_the_load_generator_asks_everything_once_and_times_from_when_it_was_due() -> None:
    with started("teacher") as teacher:
        requests = [post(b"{}"), post(b'{"a": 1}')]
        fast = run_load(teacher.port, requests, [0, 1] * 50, connections=4)
        paced = run_load(teacher.port, requests, [0] * 40, connections=4, rate=200.0)
        assert teacher.cpu_seconds >= 0.0
    assert sorted(answer.request for answer in fast.answers) == [0] * 50 + [1] * 50
    assert {answer.status for answer in fast.answers + paced.answers} == {200}
    assert paced.seconds >= 39 / 200
    assert all(answer.milliseconds > 0 for answer in paced.answers)


@pytest.mark.slow
def test_the_log_is_measured_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("append, ready rows", "read, decoded", "bytes an event in the log", "sync of 16 KiB", "raw SQLite"):
        assert words in printed


@pytest.mark.slow
def test_the_log_in_postgres_is_measured_by_a_server_of_its_own(
    tmp_path: Path, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["postgres", "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("append, ready rows", "one event a transaction", "pg_test_fsync", "PostgreSQL 1", "fsync=on"):
        assert words in printed


@pytest.mark.slow
def test_two_trainings_and_a_replay_are_one_model(tmp_path: Path) -> None:
    figures = replay.measure_replay(quick=True).figures
    assert len({run["model"] for run in figures["learned"]}) == 1
    assert set(figures["replayed"]["checks"].values()) == {"same"}


def test_what_is_measured_anew_replaces_its_namesake_and_the_others_stay() -> None:
    where = {"load_before": 0, "load_after": 0, "versions": {}, "commit": "c", "command": "x", "date": "d",
             "machine": "m", "cpu_seconds": 1}  # fmt: skip
    old = markdown([Section("log", "old log", provenance=where), Section("speed", "old speed", provenance=where)])
    new = renewed(old, [Section("speed", "new speed", provenance=where), Section("autonomy", "new", provenance=where)])
    assert [line for line in new.splitlines() if line.startswith("## ")] == ["## autonomy", "## log", "## speed"]
    assert "old log" in new
    assert "new speed" in new
    assert "old speed" not in new
    assert renewed(new, []) == new
