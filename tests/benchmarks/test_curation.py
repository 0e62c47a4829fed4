"""The benchmarks of curation on data made here: what they count is what happened."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.__main__ import main
from benchmarks.curation import ALL, Job, Outcome, section_of
from benchmarks.data import Part

from benchmarks import curation, curation_speed
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.tools import ToolCall


def decision(i: int) -> Decision:
    state = State([{"role": "user", "content": f"request {i}"}], [])
    return Decision(state=state, calls=(ToolCall("ab"[i % 2], {}),), task=f"t{i}", episode=f"t{i}")


def jobs(folds: int) -> list[Job]:
    return [Job(fold, *cell) for cell in curation.CELLS for fold in range(folds)]


def outcome(job: Job, hits: list[float]) -> Outcome:
    return Outcome(job.fold, job.size, job.how, 7, hits, 1.0)


def test_losses_and_gains_are_of_the_same_decisions() -> None:
    parts = [Part([], [decision(i) for i in range(4)]), Part([], [decision(i) for i in range(4, 8)])]
    agree = {ALL: [1.0, 1, 1, 1], "mixture": [1.0, 1, 0, 1], "random": [1.0, 0, 0, 1]}
    done = [outcome(job, agree.get(job.how, [0.0] * 4)) for job in jobs(2)]
    section = section_of("telecom", parts, done)
    figures = section.figures["10% mixture"]
    assert figures["agreement"] == 0.75
    assert figures["loss"][0] == 0.25
    assert figures["gain"][0] == 0.25
    low, high = figures["loss"][1]
    assert low < 0.25 < high
    assert figures["folds"] == 2
    assert "8 held-out decisions of 8 tasks" in section.about


def test_a_row_is_of_the_folds_that_have_all_it_is_compared_with() -> None:
    parts = [Part([], [decision(i)]) for i in range(2)]
    done = [outcome(job, [1.0]) for job in jobs(2) if job != (1, "10%", "random")]
    figures = section_of("telecom", parts, done).figures
    assert figures["10% mixture"]["folds"] == 1
    assert figures["5% mixture"]["folds"] == 2


def test_without_a_student_of_all_rows_there_is_a_gain_and_no_loss() -> None:
    parts = [Part([], [decision(i)]) for i in range(2)]
    done = [outcome(job, [1.0]) for job in jobs(2) if job != (1, ALL, ALL)]
    section = section_of("telecom", parts, done)
    assert section.figures["10% mixture"]["folds_with_all"] == 1
    (row,) = (row for row in section.tables[0].rows if row[1:3] == ["10%", "mixture"])
    assert row[3] == "2 (1 with all)"
    none = section_of("telecom", parts, [one for one in done if one.size != ALL])
    assert "loss" not in none.figures["10% mixture"]


def test_what_was_measured_before_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Job] = []

    def measure(part: Part, job: Job, done: object) -> Outcome:
        asked.append(job)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return outcome(job, [1.0] * len(part.test))

    decisions = [decision(i) for i in range(12)]
    monkeypatch.setattr(curation, "decisions_of", lambda name, data: decisions)
    monkeypatch.setattr(curation, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        curation.measure_curation("telecom", tmp_path, curation.Size(), tmp_path)
    curation.measure_curation("telecom", tmp_path, curation.Size(), tmp_path)
    assert len(asked) == 1 + len(jobs(5))


def test_every_way_to_choose_keeps_its_count() -> None:
    train = [decision(i) for i in range(40)]
    for job in jobs(1):
        if job.how == curation.VALIDATED:
            continue
        chosen = curation._choose(train, job)
        assert len(chosen) == {"10%": 4, "5%": 2}.get(job.size, len(chosen))
        if job.size == "50%" and job.how != "semdedup":
            assert len(chosen) == 20


def test_the_validated_way_has_the_student_of_the_way_that_won(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "best_selector", lambda *given: "features")
    part, job = Part([decision(i) for i in range(20)], [decision(30)]), Job(2, "10%", curation.VALIDATED)
    done = {
        (2, "10%", how): outcome(Job(2, "10%", how), [agree]) for how, agree in (("features", 1.0), ("random", 0.0))
    }
    found = curation._measure(part, job, done)
    assert (found.fold, found.size, found.how, found.hits) == (2, "10%", "validated", [1.0])


def test_planted_rows_are_half_duplicates() -> None:
    E = curation_speed.planted(400)
    assert np.linalg.norm(E, axis=1) == pytest.approx(1, abs=1e-5)
    near = np.triu(E @ E.T >= curation_speed.THRESHOLD, 1)
    assert 150 < near.any(axis=0).sum() < 250
    assert curation_speed._kept([0, 0, 1], [1, 2, 3], 5) == 3


def test_memory_is_counted_also_below_a_parent_that_held_more(tmp_path: Path) -> None:
    held = np.ones((3000, 3000))  # 72 MB in this process: what a child's getrusage would begin at
    file = tmp_path / "rows.npy"
    np.save(file, curation_speed.planted(3000))
    found = curation_speed._own("pairs", file)
    assert held.nbytes > 70e6
    assert found["extra_mb"] is None or 5 < found["extra_mb"] < 500


@pytest.mark.slow
def test_the_quick_benchmark_finds_every_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(curation_speed.PEERS, raising=False)
    assert main(["curation-speed", "--quick", "--data", str(tmp_path), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| 1.000000 |" in printed
    assert "not run: $DISTILL_BENCH_PEERS names no Python" in printed
