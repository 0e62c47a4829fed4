"""The ceiling counts what it says: pairs across episodes, in contexts that recur."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, Message, State
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.ceiling import MAX_PAIRS, measure_ceiling, same_state_key

TOOLS = [Tool("look"), Tool("act")]
NONE = Comparators()


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def asked(name: str, arguments: str) -> Message:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


def found(text: str) -> Message:
    return {"role": "tool", "tool_call_id": "call_1", "content": text}


def decided(messages: list[Message], *calls: ToolCall, episode: str, task: str = "t", teacher: str = "m") -> Decision:
    return Decision(state=State(messages, TOOLS), calls=calls, episode=episode, task=task, teacher=teacher)


LOOK, ACT = ToolCall("look", {"x": 1}), ToolCall("act", {"y": 2})
OTHER = ToolCall("look", {"x": 9})


def test_pairs_by_hand() -> None:
    rows = [decided([user("hi")], call, episode=e) for e, call in (("a", LOOK), ("b", LOOK), ("c", OTHER), ("d", ACT))]
    exact = measure_ceiling(rows, NONE).exact
    assert (exact.pairs, exact.contexts, exact.tasks) == (6, 1, 1)
    assert exact.tool == 3 / 6
    assert exact.whole_call == 1 / 6
    assert exact.interval == {}
    rows_by_tool = {row.tool: row for row in exact.per_tool}
    assert rows_by_tool["look"].pairs == 6
    assert rows_by_tool["look"].same_tool == 6 / 9  # of nine times that "look" met another run, six met "look"
    assert rows_by_tool["look"].whole_call == 2 / 9
    assert rows_by_tool["act"].same_tool == 0.0


def test_flips_are_contradictions_in_one_state_of_one_teacher() -> None:
    again = [decided([user("hi")], call, episode=e) for e, call in (("a", LOOK), ("b", LOOK), ("c", OTHER))]
    alone = [decided([user("bye")], ACT, episode="a"), decided([user("hi")], ACT, episode="d", teacher="n")]
    unknown = decided([user("hi")], ToolCall("look", None), episode="e")
    flips = measure_ceiling([*again, *alone, unknown], NONE).flips
    assert (flips.recurring, flips.decisions, flips.outvoted) == (3, 3, 1)


def test_a_context_pairs_only_across_episodes_teachers_and_prompts() -> None:
    base = decided([user("hi")], LOOK, episode="a")
    assert measure_ceiling([base, decided([user("hi")], LOOK, episode="a")], NONE).exact.pairs == 0
    assert measure_ceiling([base, decided([user("hi")], LOOK, episode="b", teacher="n")], NONE).exact.pairs == 0
    ticket = {"role": "system", "content": "ticket of Ann, 3 May"}
    other = {"role": "system", "content": "ticket of Bob, 3 May"}
    later = {"role": "system", "content": "ticket of Ann, 4 May"}
    rows = [decided([s, user("hi")], LOOK, episode=str(i)) for i, s in enumerate((ticket, other, later))]
    assert measure_ceiling(rows, NONE).exact.pairs == 1


def test_same_state_overlooks_the_users_words_but_not_results_or_arguments() -> None:
    def state(words: str, arguments: str = '{"a": 1, "b": 2}', result: str = "7") -> Decision:
        return decided([user(words), asked("look", arguments), found(result)], ACT, episode=words)

    key = same_state_key(state("one"))
    assert same_state_key(state("two")) == key
    assert same_state_key(state("two", arguments='{"b":2,"a":1}')) == key
    assert same_state_key(state("two", arguments='{"a": 2}')) != key
    assert same_state_key(state("two", result="8")) != key
    ceiling = measure_ceiling([state("one"), state("two")], NONE)
    assert ceiling.exact.pairs == 0
    assert ceiling.same_state.pairs == 1


def test_before_any_call_the_task_must_be_the_same() -> None:
    rows = [decided([user(w)], LOOK, episode=w, task=t) for w, t in (("a", "t"), ("b", "t"), ("c", "u"))]
    assert measure_ceiling(rows, NONE).same_state.pairs == 1


def test_a_flat_context_is_its_own_state() -> None:
    rows = [
        decided([{"role": "context", "content": {"queue": q}}], LOOK, episode=str(i), task=str(i))
        for i, q in enumerate(("red", "red", "blue"))
    ]
    ceiling = measure_ceiling(rows, NONE)
    assert ceiling.exact.pairs == ceiling.same_state.pairs == 1


def test_unrecorded_arguments_count_for_the_tool_only() -> None:
    rows = [decided([user("hi")], c, episode=str(i)) for i, c in enumerate((LOOK, LOOK, ToolCall("act")))]
    exact = measure_ceiling(rows, NONE).exact
    assert (exact.pairs, exact.whole_call_pairs) == (3, 1)
    assert exact.tool == 1 / 3
    assert exact.whole_call == 1.0
    assert next(row for row in exact.per_tool if row.tool == "act").whole_call is None


def test_tolerant_agreement_stands_beside_the_strict_one() -> None:
    rows = [decided([user("hi")], ToolCall("act", {"why": w}), episode=w) for w in ("one", "two")]
    exact = measure_ceiling(rows, Comparators(frozenset({("act", "why")}))).exact
    assert (exact.whole_call, exact.whole_call_tolerant) == (0.0, 1.0)


def test_a_context_that_opens_every_episode_is_capped() -> None:
    rows = [decided([user("hi")], LOOK, episode=str(i), task=str(i)) for i in range(400)]
    exact = measure_ceiling(rows, NONE).exact
    assert exact.pairs == MAX_PAIRS
    assert exact.interval["tool"] == (1.0, 1.0)


def test_nothing_recurs() -> None:
    result = measure_ceiling([decided([user("hi")], LOOK, episode="a")], NONE).to_dict()
    assert result["tool"] is None
    assert result["pairs"] == result["same_state"]["pairs"] == 0
    assert measure_ceiling([], NONE).exact.contexts == 0


def test_the_interval_holds_the_estimate_and_widens_with_dependence() -> None:
    def rows(tasks: int, flips: bool) -> list[Decision]:
        out = []
        for t in range(tasks):
            calls = (LOOK, OTHER) if flips and t % 4 == 0 else (LOOK, LOOK)
            out += [decided([user(f"q{t}")], c, episode=f"{t}#{i}", task=str(t)) for i, c in enumerate(calls)]
        return out

    exact = measure_ceiling(rows(40, True), NONE).exact
    low, high = exact.interval["whole_call"]
    assert exact.whole_call == 0.75
    assert low < 0.75 < high
    few_low, few_high = measure_ceiling(rows(8, True), NONE).exact.interval["whole_call"]
    assert few_high - few_low > high - low


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("pq"), st.integers(0, 2)), max_size=12), st.randoms()
)
def test_the_order_of_the_input_does_not_matter(spec: list[tuple[str, str, int]], rng: random.Random) -> None:
    rows = [
        decided([user(words)], ToolCall("look", {"x": x}), episode=episode, task=episode)
        for episode, words, x in dict.fromkeys((e, w, x) for e, w, x in spec)
    ]
    unique = list({(row.episode, str(row.state.messages)): row for row in rows}.values())
    shuffled = list(unique)
    rng.shuffle(shuffled)
    assert measure_ceiling(unique, NONE).exact == measure_ceiling(shuffled, NONE).exact


def test_to_dict_is_plain_json() -> None:
    rows = [decided([user("hi")], c, episode=str(i)) for i, c in enumerate((LOOK, ACT))]
    result = measure_ceiling(rows, NONE).to_dict()
    assert set(result) >= {"tool", "whole_call", "pairs", "per_tool", "same_state"}
    assert [row["tool"] for row in result["per_tool"]] == ["act", "look"]
    assert result["same_state"]["whole_call"] == pytest.approx(0.0)


def test_each_argument_has_a_ceiling_of_its_own() -> None:
    """Of three runs two differ in `b`; an argument left out is a difference, a default is none."""
    given = ({"a": 1, "b": "x"}, {"a": 1.0, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1})
    rows = [decided([user("hi")], ToolCall("act", given[i]), episode=str(i)) for i in range(3)]
    row = measure_ceiling(rows, NONE).exact.per_tool[0]
    assert row.arguments == {"a": 1.0, "b": 1 / 3}
    rows = [decided([user("hi")], ToolCall("act", given[i]), episode=str(i)) for i in (0, 3)]
    assert measure_ceiling(rows, NONE).exact.per_tool[0].arguments == {"a": 1.0, "b": 0.0}
    loose = Comparators(declared={"act": {"b": "free_text"}})
    assert measure_ceiling(rows, loose).exact.per_tool[0].arguments == {"a": 1.0, "b": 1.0}
