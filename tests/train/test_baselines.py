"""Baselines: each is what it says, on sane and on degenerate input."""

from __future__ import annotations

import time
from itertools import cycle
from typing import Any

import pytest

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import DataError
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.baselines import (
    BASELINES,
    Majority,
    NearestNeighbour,
    TfidfLogisticRegression,
    evaluate_baselines,
    most_frequent,
    state_text,
)

TOOLS = [Tool("search"), Tool("book"), Tool("cancel")]


def decision(text: Any, *calls: ToolCall, n: int = 0, weight: float = 1.0) -> Decision:
    messages = [text] if isinstance(text, dict) else [{"role": "user", "content": text}]
    state = State(messages, TOOLS)
    return Decision(state=state, calls=tuple(calls), episode=f"e{n}", task=f"t{n}", weight=weight)


SEARCH, BOOK = ToolCall("search", {"to": "Oslo"}), ToolCall("book", {"id": 7})


@pytest.fixture
def train() -> list[Decision]:
    return [
        decision("find a flight to Oslo", SEARCH, n=0),
        decision("find a flight to Rome", ToolCall("search", {"to": "Rome"}), n=1),
        decision("find one to Oslo please", SEARCH, n=2),
        decision("book that seat", BOOK, n=3),
        decision("thank you so much", n=4),
    ]


def test_majority_makes_the_most_frequent_whole_decision(train: list[Decision]) -> None:
    model = Majority()
    model.fit(train)
    assert model.predict(train) == [(SEARCH,)] * 5


def test_most_frequent_counts_weights_and_equal_calls_as_one() -> None:
    floats = [decision("a", ToolCall("book", {"id": 7.0})), decision("a", ToolCall("book", {"id": 7}))]
    assert most_frequent([decision("a", SEARCH), *floats]) == (ToolCall("book", {"id": 7.0}),)
    assert most_frequent([decision("a", SEARCH, weight=3.0), *floats]) == (SEARCH,)


def test_nearest_neighbour_copies_the_most_similar_state(train: list[Decision]) -> None:
    model = NearestNeighbour()
    model.fit(train)
    assert model.predict([decision("a flight to Rome"), decision("book the seat")]) == [train[1].calls, (BOOK,)]


def test_logistic_regression_fills_in_the_usual_arguments(train: list[Decision]) -> None:
    model = TfidfLogisticRegression(seed=0)
    model.fit(train)
    assert model.predict([decision("find a flight to Rome"), decision("thank you")]) == [(SEARCH,), ()]


def test_scores_by_hand(train: list[Decision]) -> None:
    test = [decision("x", SEARCH), decision("y", ToolCall("search", {"to": "Bonn"})), decision("z")]
    scores = evaluate_baselines(train, test)
    assert scores["majority"] == {"tool": 2 / 3, "whole_call": 1 / 3, "whole_call_tolerant": 1 / 3}
    assert list(scores) == ["majority", "nearest_neighbour", "tfidf_logistic_regression"]
    loose = evaluate_baselines(train, test, comparators=Comparators(frozenset({("search", "to")})))
    assert loose["majority"]["whole_call_tolerant"] == 2 / 3


def test_unrecorded_arguments_score_the_tool_only(train: list[Decision]) -> None:
    unknown = [decision("x", ToolCall("search")), decision("y", ToolCall("book"))]
    assert evaluate_baselines(train, unknown)["majority"] == {
        "tool": 0.5,
        "whole_call": None,
        "whole_call_tolerant": None,
    }
    assert evaluate_baselines(unknown, [decision("x", SEARCH)])["majority"]["whole_call"] == 0.0


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    "rows",
    [
        [decision("same", SEARCH)],
        [decision("", SEARCH)] * 3,
        [decision(text, SEARCH) for text in ("a", "b")],
        [decision({"role": "context", "content": {"queue": i}}, call) for i, call in ((1, SEARCH), (2, BOOK))],
        [decision("我要订机票去北京", BOOK), decision("搜索去上海的航班", SEARCH), decision("ขอบคุณ")],
        [Decision(state=State([], []), episode="e", task="t"), decision("?", BOOK)],
    ],
)
def test_degenerate_training_sets_still_reproduce_themselves(name: str, rows: list[Decision]) -> None:
    model = BASELINES[name](0)
    model.fit(rows)
    predicted = model.predict(rows)
    assert len(predicted) == len(rows)
    assert model.predict([]) == []
    if name != "majority":
        assert predicted == [row.calls for row in rows]


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_to_learn_from_is_an_error(name: str, train: list[Decision]) -> None:
    with pytest.raises(DataError, match="import traces"):
        BASELINES[name](0).fit([])
    with pytest.raises(DataError):
        evaluate_baselines(train, [])


def test_state_text_reads_the_last_words_results_and_calls() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": "not json"}}, "bad"]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "book", "arguments": "{}"}}]},
        {"role": "tool", "content": [{"type": "text", "text": "x" * 9000}]},
    ]
    text = state_text(State(messages, TOOLS))
    assert "first" in text
    assert "called_book" in text
    assert "last_tool" in text
    assert len(text) < 2000


def test_the_same_input_gives_the_same_calls(train: list[Decision]) -> None:
    assert evaluate_baselines(train, train, seed=3) == evaluate_baselines(train, train, seed=3)


def test_four_thousand_decisions_take_seconds() -> None:
    actions = cycle(f"tool_{i}" for i in range(14))
    rows = [
        decision(f"request {i % 97} about {name} " + "lorem ipsum dolor " * 20, ToolCall(name, {"i": i}), n=i)
        for i, name in zip(range(4000), actions, strict=False)
    ]
    start = time.process_time()
    scores = evaluate_baselines(rows, rows[:200])
    assert time.process_time() - start < 20  # 3 s alone on a core; the machine that tests may be busy
    assert scores["tfidf_logistic_regression"]["tool"] == 1.0
