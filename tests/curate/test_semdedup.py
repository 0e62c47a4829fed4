import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.curate import SemDeDup
from ultracore.distillation.curate.reduction import decision_key
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError, DataError

Row = dict[str, Any]
Make = Callable[..., Row]
relaxed = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# An angle and a tool: the angle is the embedding, so that similarity is known.
drawn = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["search", "refund"])), max_size=25)


def angle(text: str) -> list[float]:
    degrees = float(text.split("request ")[1].split("\n")[0])
    return [float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))]


def run(rows: list[Row], threshold: float = 0.95, function: Any = angle) -> tuple[list[Row], dict[str, Any]]:
    kept, stats = asyncio.run(SemDeDup(threshold).deduplicate(rows, function))
    return kept, dict(stats)


def rows_of(row: Make, values: list[tuple[int, str]]) -> list[Row]:
    return [row(str(degrees), tool, event_id=f"e{i}") for i, (degrees, tool) in enumerate(values)]


@relaxed
@given(drawn, st.sampled_from([0.9, 0.99, 0.999, 1.0]))
def test_laws_of_deduplication(row: Make, values: list[tuple[int, str]], threshold: float) -> None:
    rows = rows_of(row, values)
    kept, stats = run(rows, threshold)
    # kept + removed = original, and nobody is lost
    assert stats["original_count"] == len(rows) == stats["deduplicated_count"] + stats["duplicates_removed"]
    assert sum(item["weight"] for item in kept) == len(rows)
    named = [item["event_id"] for item in kept] + [name for item in kept for name in item["duplicate_ids"]]
    assert sorted(named) == sorted(item["event_id"] for item in rows)
    # a removed row has the decision of the row that stands for it, and is that similar
    for pair in stats["pairs"]:
        a, b = values[pair["removed"]], values[pair["kept"]]
        assert a[1] == b[1]
        assert pair["similarity"] == pytest.approx(np.cos(np.radians(a[0] - b[0])), abs=1e-6)
        assert pair["similarity"] >= threshold - 1e-6
    # no two kept rows with one decision are that similar
    left = [(int(item["context"]["request"]), item["tool_selected"]) for item in kept]
    near = [
        abs(np.cos(np.radians(a[0] - b[0]))) >= threshold for i, a in enumerate(left) for b in left[:i] if a[1] == b[1]
    ]
    assert not any(near)
    # again changes nothing
    again, more = run(kept, threshold)
    assert again == kept
    assert more["duplicates_removed"] == 0


@relaxed
@given(drawn)
def test_everything_merges_at_a_low_threshold_but_decisions_stay_apart(
    row: Make, values: list[tuple[int, str]]
) -> None:
    kept, stats = run(rows_of(row, values), 0.5)
    assert sorted(item["tool_selected"] for item in kept) == sorted({tool for _, tool in values})
    assert stats["teacher_disagreements"] == (2 if len(kept) == 2 else 0)


def test_the_promised_statistics_even_for_nothing() -> None:
    kept, stats = run([])
    assert kept == []
    assert {
        key: stats[key] for key in ("original_count", "deduplicated_count", "duplicates_removed", "reduction_rate")
    } == {
        "original_count": 0,
        "deduplicated_count": 0,
        "duplicates_removed": 0,
        "reduction_rate": 0.0,
    }


def test_by_default_equal_requests_merge_and_the_rows_stay_what_they_were(row: Make) -> None:
    rows = [
        row("where is my parcel", event_id="a"),
        row("where is my parcel", event_id="b"),
        row("I want my money back", "refund"),
    ]
    before = [dict(item) for item in rows]
    kept, stats = asyncio.run(SemDeDup().deduplicate(rows))
    assert rows == before
    assert kept == [{**rows[0], "weight": 2.0, "duplicate_ids": ["b"]}, {**rows[2], "weight": 1.0, "duplicate_ids": []}]
    assert stats["reduction_rate"] == pytest.approx(1 / 3)
    assert stats["exact_duplicates"] == 1
    assert stats["groups"] == [[0, 1]]


def test_earlier_weights_and_ids_are_carried_on(row: Make) -> None:
    rows = [
        row("x", event_id="a", weight=3, duplicate_ids=["p", "q"]),
        row("x", event_id="b", weight=2, duplicate_ids=["r"]),
    ]
    (kept,), _ = asyncio.run(SemDeDup().deduplicate(rows))
    assert kept["weight"] == 5
    assert kept["duplicate_ids"] == ["p", "q", "b", "r"]


def test_decisions_come_back_as_decisions(row: Make) -> None:
    decision = Decision.from_row(row("x"))
    kept, _ = asyncio.run(SemDeDup().deduplicate([decision, decision]))
    assert [item.weight for item in kept] == [2.0]


def test_strictly_equal_arguments_merge_others_do_not(row: Make) -> None:
    schema = {"name": "search", "parameters": {"properties": {"n": {"type": "integer", "default": 1}}}}
    given_arguments: list[Any] = [{"n": 5}, {"n": 5.0}, {"n": "5"}, {"n": 6}, {}, {"n": 1}, None]
    rows = [row("x", tools_available=[schema]) | {"tool_parameters": arguments} for arguments in given_arguments]
    kept, stats = asyncio.run(SemDeDup().deduplicate(rows))
    assert [item["weight"] for item in kept] == [3, 1, 2, 1]
    assert stats["teacher_disagreements"] == 4


def test_parallel_calls_have_no_order() -> None:
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]
    one, two = (Decision.from_row({"context": {}, "tool_calls": c}) for c in (calls, calls[::-1]))
    assert decision_key(one) == decision_key(two)


async def async_angle(text: str) -> list[float]:
    await asyncio.sleep(0)
    return angle(text)


async def async_angles(texts: list[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return [angle(text) for text in texts]


@pytest.mark.parametrize(
    "function", [angle, async_angle, async_angles, lambda texts: np.array([angle(t) for t in texts])]
)
def test_embedding_functions_of_all_four_forms(row: Make, function: Any) -> None:
    kept, _ = run([row("0"), row("1"), row("30")], 0.99, function)
    assert [item["context"]["request"] for item in kept] == ["0", "30"]


def test_a_list_function_is_called_once_and_equal_states_are_embedded_once(row: Make) -> None:
    asked: list[list[str]] = []

    def angles(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [angle(text) for text in texts]

    dedup = SemDeDup()
    for _ in range(2):
        asyncio.run(dedup.deduplicate([row("0"), row("0"), row("30")], angles))
    assert [len(texts) for texts in asked] == [2]
    assert dedup.get_cache_size() == 2
    asyncio.run(dedup.deduplicate([row("0")]))
    assert dedup.get_cache_size() == 3, "another function has vectors of its own"
    dedup.clear_cache()
    assert dedup.get_cache_size() == 0


def test_an_error_of_the_function_is_the_users_to_see(row: Make) -> None:
    def broken(text: str) -> list[float]:
        raise ValueError("no more credit")

    with pytest.raises(ValueError, match="no more credit"):
        run([row("0")], 0.9, broken)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_that_is_none(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match=r"similarity_threshold must lie in \(0, 1\]"):
        SemDeDup(threshold)


@pytest.mark.parametrize("vectors", [np.zeros((3, 2)), np.full((2, 2), np.nan), np.ones((5, 2))])
def test_unusable_embeddings(row: Make, vectors: Any) -> None:
    with pytest.raises(DataError, match="embedding"):
        run([row("0"), row("1")], 0.9, lambda texts: vectors)


def test_the_promised_signature() -> None:
    assert inspect.signature(SemDeDup).parameters["similarity_threshold"].default == 0.95
    assert list(inspect.signature(SemDeDup.deduplicate).parameters) == ["self", "decisions", "embedding_function"]


def test_the_most_similar_kept_row_stands_for_a_removed_one(row: Make) -> None:
    kept, stats = run([row("0"), row("20"), row("13")], np.cos(np.radians(15)))
    assert [item["weight"] for item in kept] == [1, 2]
    assert [pair["kept"] for pair in stats["pairs"]] == [1]
