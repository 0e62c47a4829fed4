import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.curate import Duplicates, SemDeDup
from ultracore.distillation.curate.policies import KEEP
from ultracore.distillation.errors import ConfigurationError

Row = dict[str, Any]
Make = Callable[..., Row]
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
drawn = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["search", "refund"])), max_size=20)
policies = st.sampled_from(sorted(KEEP))


def at(degrees: list[int]) -> Any:
    radians = np.radians(np.array(degrees, dtype=np.float64))
    return np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32).reshape(-1, 2)


def cosine(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def found_in(row: Make, values: list[tuple[int, str]], floor: float, **extra: list[Any]) -> Duplicates:
    rows = [
        row(str(angle), tool, event_id=f"e{i}", **{name: column[i] for name, column in extra.items()})
        for i, (angle, tool) in enumerate(values)
    ]
    return Duplicates(rows, at([angle for angle, _ in values]), floor)


@relaxed
@given(drawn, policies, st.sampled_from([0.9, 0.99, 0.999, 1.0]))
def test_rethreshold_is_what_a_new_search_gives(row: Make, values: list[tuple[int, str]], keep: str, t: float) -> None:
    again = found_in(row, values, 0.8).rethreshold(t, keep)
    assert again == found_in(row, values, t).rethreshold(t, keep)


@relaxed
@given(drawn, policies)
def test_whatever_stays_every_removed_row_has_a_kept_one_like_it(
    row: Make, values: list[tuple[int, str]], keep: str
) -> None:
    kept, stats = found_in(row, values, 0.99).rethreshold(0.99, keep)
    names = [item["event_id"] for item in kept]
    assert sum(item["weight"] for item in kept) == len(values)
    assert names == sorted(names, key=lambda name: int(name[1:]))
    for pair in stats["pairs"]:
        a, b = values[pair["removed"]], values[pair["kept"]]
        assert a[1] == b[1]
        assert f"e{pair['kept']}" in names
        assert cosine(a[0] - b[0]) >= 0.99 - 1e-6
        assert pair["similarity"] == pytest.approx(cosine(a[0] - b[0]), abs=1e-6)


@relaxed
@given(drawn, st.floats(0, 0.9))
def test_the_threshold_for_a_wanted_reduction_reaches_it(
    row: Make, values: list[tuple[int, str]], wanted: float
) -> None:
    found = found_in(row, values, 0.9)
    threshold = found.threshold_for(wanted)
    if threshold is None:
        assert found.rethreshold(0.9)[1]["reduction_rate"] < wanted
    else:
        assert found.rethreshold(threshold)[1]["reduction_rate"] >= wanted


def test_the_threshold_for_a_wanted_reduction_is_the_highest(row: Make) -> None:
    found = found_in(row, [(0, "search"), (2, "search"), (10, "search"), (18, "search")], 0.5)
    assert found.threshold_for(0.25) == pytest.approx(cosine(2), abs=1e-6)
    assert found.threshold_for(0.5) == pytest.approx(cosine(8), abs=1e-6)
    assert found.threshold_for(0.9) is None


@pytest.mark.parametrize(
    ("keep", "stays"),
    [("first", "e0"), ("latest", "e2"), ("outcome", "e1"), ("consistent", "e3"), ("farthest", "e3")],
)
def test_who_stays(row: Make, keep: str, stays: str) -> None:
    # four alike, and a fifth with another decision that is near the first three only
    angles = [(10, "search"), (12, "search"), (13, "search"), (16, "search"), (5, "refund")]
    found = found_in(
        row,
        angles,
        cosine(9),
        timestamp=["2026-01-01", "2026-01-02", "2026-03-01", "2026-02-01", "2026-01-01"],
        outcome=[{"success": False}, {"success": True}, None, None, None],
    )
    kept, stats = found.rethreshold(cosine(9), keep)
    assert [item["event_id"] for item in kept] == [stays, "e4"]
    assert stats["keep"] == keep
    assert 4 in stats["disputed"]


def test_the_farthest_from_its_centre_stays_as_in_the_paper(row: Make) -> None:
    values = [(0, "search"), (1, "search"), (2, "search"), (9, "search")]
    kept, _ = found_in(row, values, cosine(15)).rethreshold(cosine(15), "farthest")
    assert [item["event_id"] for item in kept] == ["e3"]


def test_a_policy_chooses_among_exact_copies_too(row: Make) -> None:
    rows = [row("x", event_id=f"e{i}", outcome={"success": good}) for i, good in enumerate([False, True, False])]
    (kept,), stats = Duplicates(rows).rethreshold(1.0, "outcome")
    assert (kept["event_id"], kept["weight"]) == ("e1", 3)
    assert stats["exact_duplicates"] == 2


def test_disagreements_are_named_and_never_merged(row: Make) -> None:
    kept, stats = found_in(row, [(0, "search"), (0, "refund"), (30, "search")], 0.99).rethreshold(0.99)
    assert len(kept) == 3
    assert stats["disputed"] == [0, 1]
    assert stats["teacher_disagreements"] == 2


def test_what_was_not_searched_cannot_be_had(row: Make) -> None:
    found = found_in(row, [(0, "search")], 0.9)
    for threshold in (0.8, 1.1):
        with pytest.raises(ConfigurationError, match=r"must lie in \[0.9, 1\]"):
            found.rethreshold(threshold)
    with pytest.raises(ConfigurationError, match="keep must be one of first, latest"):
        found.rethreshold(0.95, "best")


def angles(texts: list[str]) -> Any:
    return at([int(text.split("request ")[1].split("\n")[0]) for text in texts])


def test_a_target_is_reached_below_the_usual_threshold(row: Make) -> None:
    rows = [row(str(angle)) for angle in (0, 25, 50, 75)]
    kept, stats = asyncio.run(SemDeDup(target_reduction=0.5).deduplicate(rows, angles))
    assert len(kept) == 2
    assert stats["similarity_threshold"] == pytest.approx(cosine(25), abs=1e-6)


def test_a_target_that_cannot_be_reached_is_missed_in_the_open(row: Make) -> None:
    rows = [row("0"), row("0", "refund")]
    _, stats = asyncio.run(SemDeDup(target_reduction=0.5).deduplicate(rows, angles))
    assert stats["reduction_rate"] == 0
    assert stats["similarity_threshold"] == 0.5


@pytest.mark.parametrize("arguments", [{"target_reduction": 1.0}, {"target_reduction": -0.1}, {"keep": "best"}])
def test_unusable_settings(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SemDeDup(**arguments)


def test_it_says_how_far_it_is(row: Make) -> None:
    told: list[tuple[int, int]] = []
    dedup = SemDeDup(0.9, say=lambda done, total: told.append((done, total)))
    asyncio.run(dedup.find([row("0"), row("30")], angles))
    assert told == [(1, 1)]
