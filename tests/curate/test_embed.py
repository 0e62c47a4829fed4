import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.curate import embed_decisions, state_text
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError, DataError

Row = dict[str, Any]


def chat(*messages: tuple[str, str], tools: tuple[str, ...] = ("find",), tool: str = "find") -> Row:
    return {
        "messages": [{"role": role, "content": content} for role, content in messages],
        "tools_available": list(tools),
        "tool_selected": tool,
    }


def cosine(a: Row, b: Row) -> float:
    left, right = embed_decisions([a, b])
    return float(left @ right)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=4), min_size=1, max_size=5))
def test_every_state_has_a_finite_unit_vector_of_its_own(contexts: list[Row]) -> None:
    rows = [{"context": context, "tool_selected": "x"} for context in contexts]
    E = embed_decisions(rows, dimensions=64)
    assert E.shape == (len(rows), 64)
    assert E.dtype == np.float32
    assert np.allclose(np.linalg.norm(E, axis=1), 1, atol=1e-5)
    assert np.array_equal(E[::-1], embed_decisions(rows[::-1], dimensions=64))


def test_states_that_differ_by_an_id_are_near_but_not_equal() -> None:
    first = chat(("user", "Where is order 1001?"), ("assistant", "Let me look."), ("user", "Please do, for order 1001"))
    second = chat(
        ("user", "Where is order 1001?"), ("assistant", "Let me look."), ("user", "Please do, for order 1002")
    )
    other = chat(("user", "I want to book a flight"))
    assert 0.7 < cosine(first, second) < 0.999
    assert cosine(first, other) < 0.3


def test_the_decision_is_no_part_of_the_vector() -> None:
    assert cosine(chat(("user", "hi"), tool="find"), chat(("user", "hi"), tool="other")) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        chat(("user", "hi"), ("assistant", "hello"), ("user", "bye"), tools=("find", "pay")),
        chat(("user", "ho"), ("assistant", "hello"), ("user", "bye")),
        chat(("user", "hi"), ("assistant", "hallo"), ("user", "bye")),
        chat(("user", "hi"), ("user", "hello"), ("user", "bye")),
        chat(("user", "hi"), ("assistant", "hello"), ("tool", "bye")),
    ],
)
def test_each_part_of_the_state_counts(changed: Row) -> None:
    assert cosine(chat(("user", "hi"), ("assistant", "hello"), ("user", "bye")), changed) < 0.9999


def test_earlier_calls_count_in_their_order() -> None:
    def after(*names: str) -> Row:
        row = chat(("user", "go"))
        calls = [{"id": str(i), "function": {"name": name, "arguments": "{}"}} for i, name in enumerate(names)]
        return row | {"messages": [*row["messages"], {"role": "assistant", "content": None, "tool_calls": calls}]}

    assert "calls: find pay" in state_text(after("find", "pay"))
    assert cosine(after("find", "pay"), after("pay", "find")) < 0.9999


def test_the_system_prompt_and_call_ids_do_not_count() -> None:
    assert state_text(chat(("system", "Today is Monday"), ("user", "hi"))) == state_text(chat(("user", "hi")))


def test_symbols_and_scripts_without_spaces_are_told_apart() -> None:
    assert cosine(chat(("user", "👍")), chat(("user", "👎"))) < 0.99
    assert 0.3 < cosine(chat(("user", "我想退货")), chat(("user", "我想换货"))) < 0.99


def test_another_process_gives_the_same_vectors() -> None:
    code = (
        "from ultracore.distillation.curate import embed_decisions as e; print(e([{'context': {'a': 'b 7'}}]).tolist())"
    )
    run = [sys.executable, "-c", code]
    out = {
        subprocess.run(
            run, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(out) == 1


def test_decisions_and_rows_give_the_same() -> None:
    rows = [chat(("user", "hi")), {"context": {"a": 1}}]
    assert np.array_equal(embed_decisions(rows), embed_decisions([Decision.from_row(row) for row in rows]))


def test_nothing_gives_an_empty_matrix() -> None:
    assert embed_decisions([], dimensions=7).shape == (0, 7)


def of_one_text(text: str) -> list[float]:
    return [float(len(text.encode())), 1.0]


def of_a_list(texts: list[str]) -> list[list[float]]:
    if not isinstance(texts, list):
        raise TypeError("a list, please")
    return [of_one_text(text) for text in texts]


@pytest.mark.parametrize("function", [of_one_text, of_a_list, lambda text: np.array([float(len(text)), 1.0])])
def test_any_synchronous_embedding_function(function: Callable[..., Any]) -> None:
    rows = [chat(("user", "hi")), chat(("user", "good morning")), chat(("user", "hello there you"))]
    E = embed_decisions(rows, embedding_function=function)
    expected = np.array([of_one_text(state_text(row)) for row in rows])
    assert np.allclose(E, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_an_async_function_needs_an_async_method() -> None:
    import asyncio

    async def slow(text: str) -> list[float]:
        await asyncio.sleep(0)
        return [1.0]

    with pytest.raises(ConfigurationError, match="async method"):
        embed_decisions([chat(("user", "hi"))], embedding_function=slow)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([float("nan"), 1.0], "NaN"),
        ([0.0, 0.0], "all zeros"),
        ([[1.0], [2.0], [3.0]], "shape"),
        (["a", "b"], "numbers"),
        (3.0, "shape"),
    ],
)
def test_unusable_vectors_are_refused(vector: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        embed_decisions([chat(("user", "hi"))], embedding_function=lambda texts: vector)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="one length"):
        embed_decisions([chat(("user", "hi"))] * 2, embedding_function=lambda texts: [[1.0], [1.0, 2.0]])


def test_a_row_without_a_state_is_refused() -> None:
    with pytest.raises(DataError, match="row 1: there is neither 'context' nor 'messages'"):
        embed_decisions([{"context": {}}, {"tool_selected": "x"}])
    with pytest.raises(DataError, match="row 0: a decision is a dict"):
        embed_decisions(["text"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="dimensions"):
        embed_decisions([], dimensions=0)


def test_a_word_means_something_else_in_another_field() -> None:
    assert cosine({"context": {"find": "it"}}, {"context": {}, "tools_available": ["find"]}) < 0.05


def test_ids_are_kept_or_masked_by_field() -> None:
    rows = [
        chat(("user", f"order {n}"), ("assistant", "which one?"), ("tool", f"res_{n} found"), ("user", f"yes, {n}"))
        for n in (1001, 1002)
    ]
    assert len({state_text(row) for row in rows}) == 2
    assert len({state_text(row, ("result", "user")) for row in rows}) == 2, "the last message still has them"
    masked = ("last", "result", "user")
    assert len({state_text(row, masked) for row in rows}) == 1
    assert "result: tool # found" in state_text(rows[0], masked)
    E = embed_decisions(rows, masked=masked)
    assert np.array_equal(E[0], E[1])
    assert not np.array_equal(*embed_decisions(rows))
    with pytest.raises(ConfigurationError, match="not all"):
        embed_decisions(rows, masked=("all",))
