import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ultracore.distillation.cli.files import whole_file
from ultracore.distillation.cli.progress import counted
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.of_files import read_traces


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_kept_decisions_are_a_file_of_traces_again(distill: Any, traces: Path, tmp_path: Path) -> None:
    outcome = distill("curate", traces, "--out", "kept.jsonl")
    assert outcome.code == 0, outcome.err
    kept = lines_of(tmp_path / "kept.jsonl")
    assert f"{len(kept):,} of " in outcome.out
    assert "nothing but equal states goes" in outcome.out
    stores = [SqliteEventStore(tmp_path / name) for name in ("a.db", "b.db")]
    before, again = (
        read_traces([file], store).decisions
        for file, store in zip((traces, tmp_path / "kept.jsonl"), stores, strict=True)
    )
    for store in stores:
        store.close()
    assert len(again) == len(kept) < len(before)
    known = {(d.state.key, str(d.calls), d.reply) for d in before}
    assert {(d.state.key, str(d.calls), d.reply) for d in again} <= known
    assert sum(line["metadata"]["weight"] for line in kept) == len(before)


def test_a_share_is_kept_on_request(distill: Any, traces: Path, tmp_path: Path) -> None:
    outcome = distill("curate", traces, "--out", "kept.jsonl", "--keep", "0.2", "--selector", "random", "--no-gate")
    assert outcome.code == 0, outcome.err
    kept = lines_of(tmp_path / "kept.jsonl")
    total = round(sum(line["metadata"]["weight"] for line in kept))
    assert len(kept) == round(0.2 * total)
    assert "no student was asked" in outcome.out


def test_wishes_that_cannot_be(distill: Any, traces: Path) -> None:
    assert distill("curate", traces, "--out", "kept.jsonl", "--keep", "1.5").code == 2
    outcome = distill("curate", traces, "--out", "kept.jsonl", "--keep", "0.5", "--selector", "best")
    assert (outcome.code, "selector must be one of" in outcome.err) == (2, True)


def test_what_was_imported_is_kept_on_request(distill: Any, traces: Path, tmp_path: Path) -> None:
    assert distill("import", traces).code == 0
    outcome = distill("curate", "--out", "kept.jsonl")
    assert (outcome.code, "with --imported" in outcome.err) == (2, True)
    assert distill("curate", "--out", "kept.jsonl", "--imported").code == 0
    assert lines_of(tmp_path / "kept.jsonl")


@pytest.mark.parametrize(("out", "says"), [("nowhere/kept.jsonl", "no folder nowhere"), (".", "is a folder")])
def test_a_file_that_cannot_be_written_is_said_before_the_work(
    distill: Any, traces: Path, tmp_path: Path, out: str, says: str
) -> None:
    outcome = distill("curate", traces, "--out", out)
    assert (outcome.code, says in outcome.err, outcome.out) == (2, True, "")
    assert "embedding" not in outcome.err


def test_a_file_that_fails_midway_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text("old")

    def fail(draft: Path) -> None:
        draft.write_text("half of the new")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"), whole_file(file) as draft:
        fail(draft)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.is_file()] == [("kept.jsonl", "old")]


def test_it_says_how_far_it_is(distill: Any, traces: Path) -> None:
    outcome = distill("curate", traces, "--out", "kept.jsonl", "--threshold", "0.9")
    assert outcome.code == 0, outcome.err
    said = [line.split(" (")[0] for line in outcome.err.splitlines()]
    assert said == ["embedding states", "comparing states"]


def test_ray_is_an_extra(distill: Any, traces: Path) -> None:
    outcome = distill("curate", traces, "--out", "kept.jsonl", "--ray", "127.0.0.1:1")
    assert outcome.code != 0
    assert "pip install 'ultracore-distillation[ray]'" in outcome.err


def test_a_bar_for_each_piece_of_work_on_a_terminal() -> None:
    shown = StringIO()
    with counted(Console(file=shown, force_terminal=True, width=80)) as say:
        say("comparing states", 1, 4)
        say("comparing states", 4, 4)
        say("asking students", 0, 2)
    assert "comparing states" in shown.getvalue()
    assert "100%" in shown.getvalue()
    assert "0%" in shown.getvalue()
