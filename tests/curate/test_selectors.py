from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ultracore.distillation.curate import facility
from ultracore.distillation.curate.facility import Facility, facility_location, shares
from ultracore.distillation.curate.features import Coverage, features_of
from ultracore.distillation.curate.greedy import Mixture, Objective, most_worth
from ultracore.distillation.curate.quality import neighbour_agreement, quality
from ultracore.distillation.curate.selectors import SELECTORS, select_rows
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.tools import Tool, ToolCall

Make = Callable[..., NDArray[np.float32]]
Row = dict[str, Any]
relaxed = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.sampled_from(sorted(SELECTORS))


def rows_of(n: int) -> list[Row]:
    tools = ["often"] * 6 + ["seldom"]
    return [{"context": {"n": i}, "tool_selected": tools[i % 7], "event_id": f"e{i}"} for i in range(n)]


@relaxed
@given(names, st.integers(0, 40), st.integers(1, 45), st.integers(0, 99))
def test_so_many_different_rows_in_their_order_with_all_the_weight(
    clustered: Make, name: str, n: int, count: int, seed: int
) -> None:
    rows = rows_of(n)
    chosen = select_rows(rows, clustered(n, seed), count, name, seed)
    places = [int(row["event_id"][1:]) for row in chosen]
    assert places == sorted(set(places))
    assert len(places) == min(n, count)
    assert sum(row["weight"] for row in chosen) == pytest.approx(n)
    assert chosen == select_rows(rows, clustered(n, seed), count, name, seed), "the same again"


@pytest.mark.parametrize("name", ["mixture", "features", "covering", "stratified"])
def test_every_action_is_there_while_there_is_room(clustered: Make, name: str) -> None:
    chosen = select_rows(rows_of(70), clustered(70, 1), 7, name)
    assert {row["tool_selected"] for row in chosen} == {"often", "seldom"}
    more = [row["tool_selected"] for row in select_rows(rows_of(70), clustered(70, 1), 14, name)]
    assert 10 / 70 < more.count("seldom") / 14 < 0.35, "seldom ones more than their share, but not as often"


def test_the_hardest_are_those_among_others_decisions() -> None:
    angles = np.radians([0, 1, 2, 3, 4, 80, 81, 82])
    E = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    tools = ["a", "a", "b", "a", "a", "b", "b", "b"]
    rows = [{"context": {"n": i}, "tool_selected": tool, "event_id": f"e{i}"} for i, tool in enumerate(tools)]
    decisions = [Decision.from_row(row, i) for i, row in enumerate(rows)]
    agreement = neighbour_agreement(decisions, E, neighbours=2)
    assert int(agreement.argmin()) == 2
    assert agreement.tolist()[5:] == [1.0, 1.0, 1.0]


def test_neighbours_of_the_same_task_say_nothing() -> None:
    state = State([], [])
    decisions = [
        Decision(state=state, calls=(ToolCall(tool, {}),), episode=task, task=task)
        for tool, task in [("a", "1"), ("a", "1"), ("b", "2")]
    ]
    E = np.float32([[1, 0], [1, 0], [0, 1]])
    assert neighbour_agreement(decisions, E, neighbours=1).tolist() == [0.0, 0.0, 0.0]
    assert neighbour_agreement(decisions[:2], E[:2], neighbours=1).tolist() == [1.0, 1.0]


def test_quality_counts_outcome_schema_and_rarity() -> None:
    tool = Tool("f", parameters={"type": "object", "required": ["x"]})
    decisions = [
        Decision(state=State([], [tool]), calls=(ToolCall("f", arguments),), episode=str(i), task=str(i))
        for i, arguments in enumerate([{"x": 1}, {"x": 1}, {}])
    ]
    E = np.float32([[1, 0]] * 3)
    good, bad, invalid = quality([{"outcome": {"success": True}}, {"outcome": {"success": False}}, {}], decisions, E)
    assert good > bad
    assert good > invalid
    (unknown, *_), (_, known, _) = (
        quality(rows, decisions, E) for rows in ([{}] * 3, [{}, {"outcome": {"success": True}}, {}])
    )
    assert known > unknown
    rare = [*decisions[:2], Decision(state=State([], []), calls=(ToolCall("g", {}),), episode="r", task="r")]
    assert quality([{}] * 3, rare, np.eye(3, dtype=np.float32))[2] > quality([{}] * 3, decisions, E)[0] - 0.25


def value(E: NDArray[np.float32], chosen: Any) -> float:
    return float(np.maximum(E @ E[list(chosen)].T, 0).max(axis=1).sum())


@relaxed
@given(st.integers(3, 14), st.integers(0, 999))
def test_greedy_facility_location_is_within_its_bound(clustered: Make, n: int, seed: int) -> None:
    from itertools import combinations

    E = clustered(n, seed, 4)
    best = max(value(E, chosen) for chosen in combinations(range(n), 2))
    assert value(E, facility_location(E, 2)) >= (1 - 1 / np.e) * best - 1e-4
    first = int(facility_location(E, 1)[0])
    assert value(E, [first]) == pytest.approx(max(value(E, [i]) for i in range(n)), abs=1e-4)


def test_many_rows_are_chosen_in_parts(clustered: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    E = clustered(300, 0)
    whole = value(E, facility_location(E, 30))
    monkeypatch.setattr(facility, "PART", 60)
    chosen = facility_location(E, 30)
    assert len(set(chosen.tolist())) == 30
    assert value(E, chosen) > 0.9 * whole
    assert value(E, chosen) > value(E, np.random.default_rng(0).permutation(300)[:30])


@relaxed
@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200), st.sampled_from([0.0, 0.5, 1.0]))
def test_shares_spend_the_budget_and_no_more(sizes: list[int], count: int, power: float) -> None:
    given_out = shares(np.array(sizes, dtype=np.intp), count, power)
    assert int(given_out.sum()) == min(count, sum(sizes))
    assert (given_out <= sizes).all()
    assert (given_out >= 0).all()
    if count >= len(sizes):
        assert (given_out >= np.minimum(1, sizes)).all()


def test_features_prefer_what_has_not_been_shown() -> None:
    def decision(text: str, **arguments: Any) -> Decision:
        state = State([{"role": "user", "content": text}], [])
        return Decision(state=state, calls=(ToolCall("play", arguments),), episode=text, task=text)

    rows = features_of(
        [decision("play it", song="x"), decision("play it now", song="y"), decision("put on", artist="z")]
    )
    assert set(most_worth(Coverage(rows), 2).tolist()) in ({0, 2}, {1, 2})


def shown(random: np.random.Generator, n: int) -> Coverage:
    texts = [" ".join(random.choice(list("abcdefgh"), 3)) for _ in range(n)]
    decisions = [Decision.from_row({"context": {"t": text}, "tool_selected": "x"}) for text in texts]
    return Coverage(features_of(decisions))


@relaxed
@given(st.integers(2, 12), st.integers(0, 999), st.sampled_from(["facility", "coverage", "mixture"]))
def test_each_objective_has_falling_gains_that_add_up_to_its_total(
    clustered: Make, n: int, seed: int, which: str
) -> None:
    random = np.random.default_rng(seed)
    facility, coverage = Facility(clustered(n, seed, 4)), shown(random, n)
    objectives: dict[str, Objective] = {"facility": facility, "coverage": coverage}
    found = objectives.get(which) or Mixture(facility, coverage, 0.75)
    before, value = [np.inf] * n, 0.0
    for taken in random.permutation(n).tolist():
        gains = [found.gain(row) for row in range(n)]
        assert all(gain <= was + 1e-5 for gain, was in zip(gains, before, strict=True))
        assert min(gains) >= -1e-9
        value += gains[taken]
        found.take(taken)
        before = gains
    assert value == pytest.approx(found.total, rel=1e-4)


def test_the_mixture_weighs_both(clustered: Make) -> None:
    E, random = clustered(40, 3, 4), np.random.default_rng(3)
    coverage = [shown(np.random.default_rng(3), 40) for _ in range(3)]
    alone = most_worth(Facility(E), 8).tolist(), most_worth(coverage[0], 8).tolist()
    ends = [
        most_worth(Mixture(Facility(E), part, end), 8).tolist()
        for part, end in zip(coverage[1:], (0.0, 1.0), strict=True)
    ]
    assert ends == list(alone)
    both = most_worth(Mixture(Facility(E), shown(random, 40), 0.5), 8).tolist()
    assert both not in alone


@pytest.mark.parametrize("arguments", [(0,), (-1,), (3, "best")])
def test_unusable_wishes(arguments: Any) -> None:
    with pytest.raises(ConfigurationError):
        select_rows(rows_of(3), np.eye(3), *arguments)


def test_unusable_embeddings() -> None:
    with pytest.raises(DataError, match="embedding"):
        select_rows(rows_of(3), np.full((3, 2), np.nan), 2)
