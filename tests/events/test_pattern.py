"""Events that repeat one another read back as if each had been stored by itself, and are erased like any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent
from ultracore.distillation.events.base import Event
from ultracore.distillation.events.pattern import Pattern
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import event_of, row_of
from ultracore.distillation.events.sqlite import SqliteEventStore

WHEN = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "x" * 300}}]


def decision(**changes: Any) -> AgentDecisionEvent:
    data: dict[str, Any] = {
        "agent_id": "a",
        "session_id": "s",
        "context": {"messages": [{"role": "user", "content": "where is my parcel, asks Ann"}]},
        "tools_available": TOOLS,
        "tool_selected": "look_up",
        "tool_calls": [{"name": "look_up", "arguments": {"parcel": "A1"}}],
        "user_id": "ann@example.org",
        "serving": {"detail": "", "latency_ms": 0.0, "receipt": ""},
        "label_probability": 0.0,
        "timestamp": WHEN,
    }
    return AgentDecisionEvent.record(event_id="first", **data | changes)


def again(pattern: Pattern, number: int, **varying: Any) -> Event:
    name = f"id-{number}"
    return pattern.again(name, name, WHEN, **varying)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with_keys = SqliteEventStore(tmp_path / "log.db", protection=Protection(tmp_path / "keys"))
    yield with_keys
    with_keys.close()


@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("user", [None, "ann@example.org"])
def test_reads_back_as_an_event_without_a_pattern_does(tmp_path: Path, encrypt: bool, user: str | None) -> None:
    protection = Protection(tmp_path, encrypt=encrypt)
    first = decision(user_id=user)
    pattern = Pattern(first, ("serving", "label_probability"))
    for number in range(3):
        serving = {"detail": "", "latency_ms": number + 0.5, "receipt": f"id-{number}"}
        event = again(pattern, number, serving=serving, label_probability=number / 10)
        plain = msgspec.structs.replace(event)
        assert event.pattern is pattern
        assert plain.pattern is None
        (fast, parts), (slow, same) = row_of(event, protection), row_of(plain, protection)
        assert parts == same
        assert fast._replace(payload=b"") == slow._replace(payload=b"")
        found = [event_of(1, row, parts.__getitem__, protection) for row in (fast, slow)]
        assert found[0] == found[1]
        assert found[0].to_dict()["data"] == event.to_dict()["data"]
        assert (b"parcel, asks" in fast.payload) is not encrypt


def test_no_two_are_sealed_alike_and_none_opens_in_the_place_of_another(tmp_path: Path) -> None:
    protection, first = Protection(tmp_path), decision()
    pattern = Pattern(first, ("serving",))
    rows = [row_of(again(pattern, number, serving={}), protection).row for number in range(2)]
    sealed = [msgspec.json.decode(row.payload)["$sealed"] for row in rows]
    assert sealed[0][40:] != sealed[1][40:]
    with pytest.raises(Exception, match="altered or belong to another"):
        event_of(1, rows[0]._replace(payload=rows[1].payload), {}.__getitem__, protection)


def test_a_person_is_erased_from_all_of_them(store: Any) -> None:
    first = decision()
    pattern = Pattern(first, ("serving",))
    store.append([again(pattern, number, serving={"n": number}) for number in range(3)])
    name = store.protection.pseudonym("default", "ann@example.org")
    assert [event.metadata.subject for event in store.read()] == [name] * 3
    assert store.protection.keyring.destroy(name=name) == 1
    events = list(store.read())
    assert [event.metadata.erased for event in events] == [True] * 3
    assert not any(event.context or event.tool_calls or event.user_id for event in events)
    assert [event.serving for event in events] == [{"n": number} for number in range(3)]


def test_a_new_day_has_its_own_key(store: Any) -> None:
    first = decision(user_id=None)
    pattern = Pattern(first, ())
    for number in range(2):
        store.append([pattern.again(f"id-{number}", f"id-{number}", WHEN + timedelta(days=number))])
    assert store.protection.keyring.destroy(before_day="2026-05-05") == 1
    assert [event.metadata.erased for event in store.read()] == [True, False]


def test_secrets_in_it_are_redacted_each_time(store: Any) -> None:
    first = decision(context={"messages": [{"role": "user", "content": "my key is sk-proj-" + "aB3" * 16}]})
    pattern = Pattern(first, ("serving",))
    store.append([again(pattern, number, serving={}) for number in range(2)])
    assert all("sk-proj" not in str(event.context) and event.metadata.redacted for event in store.read())


def test_what_is_personal_in_a_varying_field_is_sealed_all_the_same(store: Any) -> None:
    first = decision(serving={"detail": "asked by Ann"})
    pattern = Pattern(first, ("serving",))
    store.append([again(pattern, 0, serving={"detail": "asked by Ann"})])
    ((_, row),) = store.rows()
    assert b"Ann" not in row.payload
    assert next(store.read()).serving == {"detail": "asked by Ann"}


def test_another_log_prepares_them_anew(tmp_path: Path) -> None:
    first = decision(user_id=None)
    pattern = Pattern(first, ("serving",))
    for name in ("one", "two", "one"):
        protection = Protection(tmp_path / name)
        event = again(pattern, 0, serving={})
        row, parts = row_of(event, protection)
        assert event_of(1, row, parts.__getitem__, protection).to_dict()["data"] == event.to_dict()["data"]


def test_an_event_of_which_nothing_is_personal_stays_readable(store: Any) -> None:
    first = DecisionOutcomeEvent.record(event_id="first", decision_id="d", success=True, execution_time_ms=1.0)
    pattern = Pattern(first, ("decision_id", "execution_time_ms"))
    store.append([again(pattern, n, decision_id=f"d{n}", execution_time_ms=float(n)) for n in range(2)])
    assert [(event.decision_id, event.execution_time_ms) for event in store.read()] == [("d0", 0.0), ("d1", 1.0)]
