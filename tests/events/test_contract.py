"""Every store keeps the public contract, whatever it is given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.checks import check_event_store
from ultracore.distillation.errors import EventError, LogError
from ultracore.distillation.events import AgentDecisionEvent, Event, EventStore, Expected
from ultracore.distillation.events.postgres.store import PostgresEventStore
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore

MakeStore = Callable[[], EventStore]
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(params=["sqlite", "postgres"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    sealed = Protection(tmp_path / "keys", redact="off")  # a number of sixteen digits would be taken for a card
    if request.param == "sqlite":
        return lambda: SqliteEventStore(tmp_path / "log.db", protection=sealed)
    url = request.getfixturevalue("database")
    return lambda: PostgresEventStore(url, protection=sealed)


@pytest.fixture
def store(make_store: MakeStore) -> Iterator[EventStore]:
    log = make_store()
    yield log
    log.close()


def fact(**data: object) -> Event:
    return AgentDecisionEvent.record(agent_id="a", **data)


def test_keeps_the_contract(make_store: MakeStore) -> None:
    check_event_store(make_store)


@given(context=st.dictionaries(any_text, any_json, max_size=4), reply=any_text)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_reads_back_as_it_was_given(store: EventStore, context: dict[str, Any], reply: str) -> None:
    event = fact(context=context, reply=reply)
    (position,) = store.append([event])
    assert list(store.read(after=position - 1)) == [event.at(position)]


@pytest.mark.parametrize(
    "event",
    [
        fact(context={"x": "\ud83d"}),
        fact(context={"x": float("nan")}),
        AgentDecisionEvent.record(agent_id="a\0b"),
        AgentDecisionEvent.record(agent_id="a", tenant_id="a\0b"),
        AgentDecisionEvent.record(agent_id="a", correlation_id="\ud83d"),
        "not an event",
    ],
    ids=["surrogate", "NaN", "NUL in the agent", "NUL in the tenant", "surrogate in the correlation", "no event"],
)
def test_what_cannot_be_stored_is_refused(store: EventStore, event: Event) -> None:
    with pytest.raises(EventError):
        store.append([fact(), event])
    assert store.last_position() == 0


@pytest.mark.parametrize("value", ["a\0b", "\ud83d", ""])
def test_what_cannot_be_stored_is_not_found(store: EventStore, value: str) -> None:
    store.append([fact()])
    assert store.known({value}) == set()
    for name in ("tenant", "aggregate", "agent"):
        assert list(store.read(**{name: value})) == []  # type: ignore[arg-type]
    assert list(store.read(types=[value])) == []
    assert list(store.read(types=[value, "AGENT_TOOL_SELECTED"])) != []
    assert store.append([fact()], expected=Expected(value, 0)) == [2]


def test_a_time_that_is_none_is_kept_as_it_is(store: EventStore) -> None:
    value = fact().to_dict()
    value["metadata"]["timestamp"] = "yesterday"
    store.append([Event.from_dict(value)])
    (event,) = store.read()
    assert event.metadata.timestamp == "yesterday"


def test_a_bad_batch_does_not_fail_its_neighbours(store: EventStore) -> None:
    first = fact()
    futures = [store.submit([event]) for event in (first, fact(), first, fact())]
    assert isinstance(futures[2].exception(), EventError)
    assert [future.result() for future in futures if future.exception() is None] == [[1], [2], [3]]


def test_an_append_too_large_for_memory_is_whole_or_nothing(store: EventStore) -> None:
    text = "x" * 40_000
    known = fact()
    store.append([known])
    large = [fact(context={"text": text, "n": n}) for n in range(600)]
    with pytest.raises(EventError, match="already"):
        store.append([*large, known])
    assert store.last_position() == 1
    around = [store.submit([fact()]), store.submit(iter(large)), store.submit([fact()])]
    assert [future.result()[0] for future in around] == [2, 3, 603]
    assert [e.to_dict()["data"]["context"]["n"] for e in store.read(after=2, until=602)] == list(range(600))


def test_filters_together(store: EventStore) -> None:
    agents, tenants, times = ("a", "b"), ("s", "t"), ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00")
    for agent, tenant, time in itertools.product(agents, tenants, times):
        value = AgentDecisionEvent.record(agent_id=agent, tenant_id=tenant).to_dict()
        value["metadata"]["timestamp"] = time
        store.append([Event.from_dict(value)])
    found = store.read(agent="b", tenant="s", since="2026-01-15", types=["AGENT_TOOL_SELECTED", "SESSION_STARTED"])
    assert [event.metadata.position for event in found] == [6]
    assert [event.metadata.position for event in store.read(until_time="2026-01-15", limit=3)] == [1, 3, 5]
    assert [event.metadata.position for event in store.read(after=3, until=6, agent="a")] == [4]


def test_an_interrupted_append_stores_nothing(store: EventStore) -> None:
    def broken() -> Iterator[Event]:
        yield fact()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append(broken())
    assert store.last_position() == 0


def test_a_closed_store_says_so(store: EventStore) -> None:
    store.close()
    with pytest.raises(LogError, match="closed"):
        next(store.follow())
