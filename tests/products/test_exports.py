"""Exports hold the rows, appear whole, and are remembered, so that an erasure removes or names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.products.conftest import World, decided

from ultracore.distillation.erasure import Erasure, erase, plan
from ultracore.distillation.errors import LogError, MissingExtraError, ProductError
from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat
from ultracore.distillation.products import AgentDecisionHistoryProduct, DistillationTrainingDataProduct
from ultracore.distillation.products.export import OPTIONS, export


def ids(file: Path) -> list[str]:
    return [row[0] for row in duckdb.connect().execute(f"SELECT event_id FROM '{file}' ORDER BY position").fetchall()]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("personal", [False, True])
def test_an_export_holds_the_rows_that_pass(world: World, tmp_path: Path, form: str, personal: bool) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    done = export(product, tmp_path / f"rows.{form}", filters={"agent_id": "agent-1"}, personal=personal)
    expected = [d.metadata.event_id for d in world.decisions if d.agent_id == "agent-1"]
    assert done.rows == len(expected)
    assert ids(done.file) == expected
    assert (b"secret words" in done.file.read_bytes()) is personal
    (told,) = world.store.read(types=["PRODUCT_EXPORTED"])
    assert (told.sha256, told.holds_personal, told.rows) == (done.sha256, personal, done.rows)
    assert [path.name for path in tmp_path.iterdir() if "rows" in path.name] == [done.file.name]
    assert (done.file.stat().st_mode & 0o077 == 0) is personal


def test_no_copy_is_there_that_the_log_does_not_know(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = AgentDecisionHistoryProduct(world.store)

    def full(*_: Any, **__: Any) -> None:
        raise LogError("the disk is full")

    monkeypatch.setattr(product.rows.log, "append", full)
    with pytest.raises(LogError):
        export(product, tmp_path / "rows.csv", personal=True)
    assert [path for path in tmp_path.iterdir() if "rows" in path.name] == []


def test_what_the_database_refuses_is_an_error_of_ours(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIONS, "csv", "FORMAT nothing")
    with pytest.raises(ProductError, match=r"rows\.csv could not be written"):
        export(AgentDecisionHistoryProduct(world.store), tmp_path / "rows.csv")


def test_an_arrow_file_holds_them_too(world: World, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    done = export(AgentDecisionHistoryProduct(world.store), tmp_path / "rows.arrow")
    table = pa.ipc.open_file(done.file).read_all()
    assert table.num_rows == done.rows == 26
    assert table.column("success").to_pylist()[:2] == [False, True]


def test_without_the_extra_arrow_says_what_to_install(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\[arrow\]"):
        export(AgentDecisionHistoryProduct(world.store), tmp_path / "rows.arrow")
    assert [file for file in tmp_path.iterdir() if file.is_file()] == []


def test_the_past_can_be_exported(world: World, tmp_path: Path) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    done = export(product, tmp_path / "then.jsonl", as_of=10)
    assert [json.loads(line)["success"] for line in done.file.read_text().splitlines()] == [None] * 10


def test_a_rebuild_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    first = export(product, tmp_path / "a.parquet", filters={"tenant_id": "default"})
    product.rows.rebuild()
    again = export(product, tmp_path / "b.parquet", filters={"tenant_id": "default"})
    assert first.sha256 == again.sha256


@pytest.mark.parametrize("form", ["openai", "trl"])
def test_training_data_take_the_form_of_trainers(world: World, tmp_path: Path, form: str) -> None:
    unknown = decided(40, tool_parameters=None)
    reply = decided(41, tool_selected=None, tool_parameters=None, reply="Done.")
    chat = decided(42, context={"messages": [{"role": "user", "content": "hi"}]})
    world.store.append([unknown, reply, chat])
    product = DistillationTrainingDataProduct(world.store)
    product.publish([{"event_id": d.metadata.event_id} for d in (world.decisions[0], unknown, reply, chat)])
    done = export(product, tmp_path / "train.jsonl", form)
    assert (done.rows, done.skipped) == (3, 1)
    flat, said, talked = (json.loads(line) for line in done.file.read_text().splitlines())
    (call,) = flat["messages"][-1]["tool_calls"]
    assert call["function"]["arguments"] == ('{"n":0}' if form == "openai" else {"n": 0})
    assert json.loads(flat["messages"][0]["content"]) == {"query": "secret words 0"}
    assert said["messages"][-1] == {"role": "assistant", "content": "Done."}
    assert talked["messages"][0] == {"role": "user", "content": "hi"}
    assert talked["tools"][0]["function"]["name"] == "refund"
    if form == "openai":
        read = [item.event.tool_selected for item in read_openai_chat(done.file) if isinstance(item, Imported)]
        assert read == ["refund", None, "refund"]


@pytest.mark.parametrize(
    ("target", "form", "message"),
    [
        ("rows.xlsx", None, "no format 'xlsx'; there are: parquet"),
        ("nowhere/rows.csv", None, "no folder"),
        ("rows.jsonl", "openai", "openai is a form of distillation_training_data"),
    ],
)
def test_what_cannot_be_exported_says_why(world: World, tmp_path: Path, target: str, form: Any, message: str) -> None:
    with pytest.raises(ProductError, match=message):
        export(AgentDecisionHistoryProduct(world.store), tmp_path / target, form)
    assert list(world.store.read(types=["PRODUCT_EXPORTED"])) == []


def test_an_erasure_empties_rows_removes_exports_that_are_here_and_names_those_that_are_not(
    world: World, tmp_path: Path, home: Path
) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    here = export(product, tmp_path / "here.jsonl", personal=True).file
    gone = export(product, tmp_path / "gone.jsonl", personal=True, filters={"success": True}).file
    plain = export(product, tmp_path / "plain.parquet").file
    gone.rename(tmp_path / "elsewhere.jsonl")
    before = {row["event_id"]: row for row in product.query(limit=100)}
    tombstones = home / "erased.jsonl"
    planned = plan(world.store, home, Erasure("default", "person-1", None, "asked"), tombstones)
    assert here in planned.files
    assert plain not in planned.files
    (copy,) = planned.copies
    assert copy.startswith(f"{gone}, jsonl of agent_decision_history")
    erase(world.store, planned, tombstones)
    assert not here.exists()
    rows = {row["event_id"]: row for row in product.query(limit=100, personal=True)}
    theirs = [d.metadata.event_id for i, d in enumerate(world.decisions) if i % 5 == 1]
    assert {event_id for event_id, row in rows.items() if row["erased"]} == set(theirs)
    for event_id in theirs:
        row = rows[event_id]
        assert (row["context_id"], row["call_id"], row["episode_id"], row["arguments_valid"]) == (None,) * 4
        assert not row["context"]
        assert row["success"] == before[event_id]["success"]
    after = export(product, tmp_path / "after.parquet").sha256
    product.rows.rebuild()
    assert export(product, tmp_path / "rebuilt.parquet").sha256 == after


def test_rows_that_are_open_elsewhere_forget_too(world: World, home: Path) -> None:
    """The erasure of another process reaches a product that holds the file, and the copies in columns."""
    product = AgentDecisionHistoryProduct(world.store)
    product.measure_quality(record=False)
    kept = [row["event_id"] for row in product.query(limit=100)]
    planned = plan(world.store, home, Erasure("default", "person-2", None, ""), home / "erased.jsonl")
    erase(world.store, planned._replace(caches=[]), home / "erased.jsonl")
    rows = product.query(limit=100)
    assert [row["event_id"] for row in rows] == kept
    assert sum(row["erased"] for row in rows) == 5
    assert all(row["context_id"] is None for row in rows if row["erased"])
