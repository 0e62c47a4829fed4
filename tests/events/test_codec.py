"""Facts survive the way to bytes and back, in every version ever written."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.errors import EventError
from ultracore.distillation.events import EVENT_TYPES, AgentDecisionEvent, Event, codec
from ultracore.distillation.events.base import Unchanging, UnchangingObject, new_event_id

EVENTS = Path(__file__).parents[1] / "golden" / "events"
GOLDEN, LIFTED = sorted(EVENTS.glob("*.json")), EVENTS / "lifted"

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_fact_ever_written_is_still_read(file: Path) -> None:
    golden = read(file)
    now = Event.from_dict(golden).to_dict()
    lifted = LIFTED / file.name
    expected = read(lifted) if lifted.exists() else golden
    assert expected["metadata"].items() <= now["metadata"].items()
    assert {key: now["data"][key] for key in expected["data"]} == expected["data"]


def test_every_old_version_says_how_it_reads_today() -> None:
    old = {file.name for file in GOLDEN if Event.from_dict(read(file)).version > read(file)["metadata"]["version"]}
    assert old == {file.name for file in LIFTED.glob("*.json")}
    assert old == {f"{name.lower()}.v{version}.json" for name, version in codec.UPCASTERS}


def test_every_fact_has_a_golden_file() -> None:
    assert {f"{name.lower()}.v{cls.version}" for name, cls in EVENT_TYPES.items()} <= {file.stem for file in GOLDEN}


@given(
    context=st.dictionaries(text, values, max_size=4), arguments=st.none() | st.dictionaries(text, values, max_size=3)
)
@settings(max_examples=150, deadline=None)
def test_there_and_back_is_the_same(context: dict[str, Any], arguments: dict[str, Any] | None) -> None:
    event = AgentDecisionEvent.record(agent_id="a", context=context, tool_parameters=arguments)
    assert Event.from_dict(event.to_dict()) == event
    assert Event.from_dict(json.loads(json.dumps(event.to_dict()))) == event
    assert codec.decode(event.metadata, codec.encode(event)) == event


def test_equal_data_give_equal_bytes() -> None:
    a = AgentDecisionEvent.record(agent_id="a", context={"x": 1, "y": {"b": 1, "a": 2}})
    b = AgentDecisionEvent.record(agent_id="a", context={"y": {"a": 2, "b": 1}, "x": 1})
    assert codec.encode(a) == codec.encode(b)


def test_tuples_and_other_keys_take_their_json_form() -> None:
    event = AgentDecisionEvent.record(agent_id="a", context={1: (1, 2), "d": {"x": (float(1),)}})
    assert msgspec.json.decode(codec.encode(event))["context"] == {"1": [1, 2], "d": {"x": [1.0]}}


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, float("nan")]}, r"data\.context\.v\.a\[1\] is NaN"),
        ({"a": (1, -float("inf"))}, r"data\.context\.v\.a\[1\] is NaN or infinite"),
        (object(), "cannot be stored"),
        ("\ud83d", "cannot be stored"),
        (_nested(5000), "cannot be stored"),
    ],
    ids=["NaN", "infinity", "object", "lone surrogate", "deep"],
)
def test_what_json_would_alter_is_refused(value: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        codec.encode(AgentDecisionEvent.record(agent_id="a", context={"v": value}))


def test_what_was_stored_can_be_read_by_a_deeper_caller() -> None:
    def deeper(levels: int) -> Event:
        return deeper(levels - 1) if levels else codec.decode(event.metadata, payload)

    for depth in range(50, 1000, 50):
        event = AgentDecisionEvent.record(agent_id="a", context={"v": _nested(depth)})
        try:
            payload = codec.encode(event)
        except EventError:
            break
        assert deeper(codec.HEADROOM // 2) == event


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_type": "FROM_THE_FUTURE"}, "newer release"),
        ({"version": 99}, "newer"),
        ({"version": 0}, "never had a version 0"),
    ],
)
def test_what_this_release_cannot_read_says_so(change: dict[str, Any], message: str) -> None:
    value = AgentDecisionEvent.record(agent_id="a").to_dict()
    value["metadata"] |= change
    with pytest.raises(EventError, match=message):
        Event.from_dict(value)


@pytest.mark.parametrize("value", [{}, {"metadata": {}, "data": {}}, {"metadata": None, "data": None}, []])
def test_what_is_no_event_says_so(value: Any) -> None:
    with pytest.raises(EventError):
        Event.from_dict(value)


def test_an_upcaster_lifts_old_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec.UPCASTERS, ("AGENT_TOOL_SELECTED", 0), lambda data: {"agent_id": data["agent"]})
    value = AgentDecisionEvent.record(agent_id="a").to_dict()
    value["metadata"]["version"] = 0
    value["data"] = {"agent": "old"}
    event = Event.from_dict(value)
    assert isinstance(event, AgentDecisionEvent)
    assert (event.agent_id, event.metadata.version) == ("old", 1)


@pytest.mark.parametrize("payload", [b"{", b'"\xff"', b"[" * 100_000, b"[]"])
def test_a_damaged_payload_says_so(payload: bytes) -> None:
    with pytest.raises(EventError):
        codec.decode(AgentDecisionEvent.record(agent_id="a").metadata, payload)


TOOLS = [{"name": f"tool_{k}", "description": "What it does, in some more words."} for k in range(10)]


def test_what_events_share_is_kept_apart_and_put_back() -> None:
    event = AgentDecisionEvent.record(agent_id="a", tools_available=TOOLS)
    payload, parts, _ = codec.encode_shared(event)
    ((key, part),) = parts.items()
    assert msgspec.json.decode(payload)["tools_available"] == {"part": key}
    assert codec.part_of(part) == key
    assert codec.decode(event.metadata, payload, parts.__getitem__) == event
    assert codec.inline(event.event_type, payload, parts.__getitem__) == codec.encode(event)
    assert codec.share(event.event_type, codec.encode(event)) == (payload, parts, {})
    with pytest.raises(EventError, match=key):
        codec.decode(event.metadata, payload)


@pytest.mark.parametrize("tools", [[], TOOLS[:1]], ids=["none", "short"])
def test_what_is_short_stays_where_it_is(tools: list[dict[str, Any]]) -> None:
    event = AgentDecisionEvent.record(agent_id="a", tools_available=tools)
    assert codec.encode_shared(event) == (codec.encode(event), {}, {})
    assert codec.share(event.event_type, codec.encode(event)) == (codec.encode(event), {}, {})


@pytest.mark.parametrize("field", ["tools_available", "context"])
def test_nan_is_found_wherever_it_hides(field: str) -> None:
    value = {"x": [1.0, {"y": float("nan")}]}
    event = AgentDecisionEvent.record(agent_id="a", **{field: [*TOOLS, value] if field == "tools_available" else value})
    with pytest.raises(EventError, match=r"y is NaN"):
        codec.encode_shared(event)


@given(st.floats())
@settings(max_examples=300, deadline=None)
def test_the_quick_look_for_nan_is_never_wrong(number: float) -> None:
    event = AgentDecisionEvent.record(agent_id="a", context={"x": number, "n": 2**63})
    if math.isfinite(number):
        codec.encode(event)
    else:
        with pytest.raises(EventError):
            codec.encode(event)


def test_what_is_stored_can_be_read_from_a_deeper_stack() -> None:
    deepest = 0
    for depth in range(700, 1100, 7):
        event = AgentDecisionEvent.record(agent_id="a", context={"v": _nested(depth)})
        try:
            payload = codec.encode(event)
        except EventError:
            break
        deepest = depth
        assert _at_depth(50, lambda e=event, p=payload: codec.decode(e.metadata, p)) == event
    assert deepest


def test_new_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    ids = [new_event_id() for _ in range(2000)]
    parsed = [uuid.UUID(hex=value) for value in ids]
    assert {(value.version, value.variant) for value in parsed} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 2000
    assert [value[:16] for value in ids] == sorted(value[:16] for value in ids)
    assert abs(int(ids[0][:12], 16) / 1000 - time.time()) < 60


def _at_depth(frames: int, call: Callable[[], Any]) -> Any:
    return call() if frames == 0 else _at_depth(frames - 1, call)


def test_what_nobody_changes_any_more_is_encoded_once() -> None:
    tools = Unchanging(TOOLS)
    one, other = (AgentDecisionEvent.record(agent_id=name, tools_available=tools) for name in "ab")
    payload, parts, _ = codec.encode_shared(one)
    assert (payload, parts, {}) == codec.encode_shared(AgentDecisionEvent.record(agent_id="a", tools_available=TOOLS))
    ((again, same),) = codec.encode_shared(other).parts.items()
    assert parts == {again: same}
    assert parts[again] is same


MESSAGES = [{"role": "user", "content": 'a "quoted" {} null [word]'}, {"role": "tool", "content": None}]


def test_a_conversation_that_nobody_changes_gives_the_same_bytes_as_one_that_is_encoded_each_time() -> None:
    context = UnchangingObject(messages=MESSAGES)
    plain = AgentDecisionEvent.record(agent_id="a", context={"messages": MESSAGES}, tools_available=TOOLS, step=2)
    for _ in range(2):
        event = AgentDecisionEvent.record(agent_id="a", context=context, tools_available=TOOLS, step=2)
        found = codec.encode_shared(event)
        assert found[:2] == codec.encode_shared(plain)[:2]
        ((key, text),) = found.unchanging.items()
        assert (codec.part_of(text), text in found.payload) == (key, True)
        assert context.part == (key, text)


@pytest.mark.parametrize("wrong", [float("nan"), "\ud800", object()])
def test_what_cannot_be_stored_is_refused_inside_and_beside_a_conversation_that_nobody_changes(wrong: Any) -> None:
    for fields in ({"context": UnchangingObject(messages=[wrong])}, {"outcome": {"x": wrong}}):
        event = AgentDecisionEvent.record(agent_id="a", **({"context": UnchangingObject(messages=MESSAGES)} | fields))
        for _ in range(2):
            with pytest.raises(EventError):
                codec.encode_shared(event)


def test_a_list_that_changes_is_encoded_anew() -> None:
    tools = list(TOOLS)
    before = codec.encode_shared(AgentDecisionEvent.record(agent_id="a", tools_available=tools)).parts
    tools.append({"name": "one_more"})
    assert codec.encode_shared(AgentDecisionEvent.record(agent_id="a", tools_available=tools)).parts != before
