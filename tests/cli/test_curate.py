import json
from pathlib import Path
from typing import Any

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
