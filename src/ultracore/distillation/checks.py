"""Conformance checks that anybody who implements a plug point can run against their own.

Each check raises `AssertionError` with the promise that was broken. What this file does not know:
any particular implementation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from ultracore.distillation.errors import ConcurrencyError, EventError, LogError
from ultracore.distillation.events import (
    AgentDecisionEvent,
    Event,
    EventStore,
    Expected,
    RetrainTriggeredEvent,
)

__all__ = ["check_event_store"]

MakeStore = Callable[[], EventStore]


def check_event_store(make_store: MakeStore) -> None:
    """Check the promises of `EventStore`: order, atomicity, durability on close, concurrency, errors.

    Args:
        make_store: Opens a store; every call opens the *same* log, which is empty at the first call.

    Raises:
        AssertionError: A promise is not kept; the message names it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from ultracore.distillation.events.sqlite import SqliteEventStore
        >>> path = Path(tempfile.mkdtemp()) / "log.db"
        >>> check_event_store(lambda: SqliteEventStore(path))
    """
    for check in (
        _starts_empty,
        _counts_positions,
        _gives_back_what_was_given,
        _filters,
        _filters_by_agent_and_time,
        _refuses_duplicates_whole,
        _keeps_large_appends_whole,
        _does_not_fail_neighbours,
        _refuses_what_cannot_be_stored,
        _refuses_a_stale_expectation,
        _takes_threads,
        _follows,
        _two_stores_see_each_other,
    ):
        store = make_store()
        try:
            check(store, make_store)
        finally:
            store.close()
    _is_durable_and_closed(make_store)


def _starts_empty(store: EventStore, _: MakeStore) -> None:
    _expect(isinstance(store, EventStore), "a store has the methods of EventStore")
    _expect(store.last_position() == 0 and not list(store.read()), "the log is empty at the first call")
    _expect(store.append([]) == [], "appending nothing gives no positions")


def _counts_positions(store: EventStore, _: MakeStore) -> None:
    first = store.append(_events(2))
    second = store.submit(iter(_events(1))).result()
    _expect(first == [1, 2] and second == [3], "positions count from 1 without gaps; any iterable is taken")
    _expect([e.metadata.position for e in store.read()] == [1, 2, 3], "events are read in order of position")
    _expect(store.last_position() == 3, "last_position is the newest event's")


def _gives_back_what_was_given(store: EventStore, _: MakeStore) -> None:
    context = {
        "text": "\u00e9\u4e16\U0001f600 \u2028 a\0b",
        "big": 2**70,
        "float": -0.1,
        "none": None,
        "list": [[], {}],
    }
    event = AgentDecisionEvent.record(
        agent_id="a", context=context, tool_selected="f", causation_id="c", correlation_id="k", tenant_id="t"
    )
    (position,) = store.append([event])
    _expect(list(store.read(after=position - 1)) == [event.at(position)], "an event reads back as it was given")


def _filters(store: EventStore, _: MakeStore) -> None:
    start = store.last_position()
    store.append([*_events(3, "x", "other"), *_events(300, "y"), AgentDecisionEvent.record(agent_id="a")])
    last = store.last_position()
    _expect(len(list(store.read(after=start))) == 304, "a long log is read whole")
    _expect(len(list(store.read(after=start, limit=7))) == 7, "limit is kept")
    _expect([_at(e) for e in store.read(after=start, until=start + 2)] == [start + 1, start + 2], "until is included")
    _expect([_at(e) for e in store.read(after=start, types=["AGENT_TOOL_SELECTED"])] == [last], "types are kept apart")
    _expect(not list(store.read(types=[])), "no types, no events")
    _expect({e.metadata.tenant_id for e in store.read(tenant="other")} == {"other"}, "tenants are kept apart")
    _expect(len(list(store.read(aggregate="x"))) == 3, "aggregates are kept apart")
    (decision,) = store.read(after=last - 1)
    _expect(
        list(store.read(aggregate=decision.metadata.aggregate_id)) == [decision], "an event may be its own aggregate"
    )


def _filters_by_agent_and_time(store: EventStore, _: MakeStore) -> None:
    start = datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)
    times = [start, start + timedelta(microseconds=1), start + timedelta(hours=1), start - timedelta(days=1)]
    events = [
        AgentDecisionEvent.record(agent_id=f"clock-{i % 2}", timestamp=time, tenant_id="clock")
        for i, time in enumerate(times)
    ]
    positions = store.append(events)

    def found(**filters: Any) -> list[int]:
        return [positions.index(_at(event)) for event in store.read(tenant="clock", **filters)]

    _expect(found(agent="clock-1") == [1, 3], "agents are kept apart")
    _expect(found(since=times[1].isoformat()) == [1, 2], "since is included, whatever the order of positions")
    _expect(found(until_time="2027-03-28T01:59:59+01:00") == [0, 3], "until_time is included, in any offset")
    _expect(found(since="2027-03-28", until_time="2027-03-28T01:00:00", agent="clock-0") == [0], "filters add up")
    _raises(EventError, lambda: list(store.read(since="yesterday")), "a time that is none is refused")


def _refuses_duplicates_whole(store: EventStore, _: MakeStore) -> None:
    event, fresh = _events(2)
    store.append([event])
    before = store.last_position()
    _raises(EventError, lambda: store.append([fresh, event]), "an id that is in the log already is refused")
    _raises(EventError, lambda: store.append([fresh, fresh]), "an id that comes twice in one append is refused")
    _expect(store.last_position() == before, "a refused append stores nothing")
    ids = {event.metadata.event_id, fresh.metadata.event_id}
    _expect(store.known(ids) == {event.metadata.event_id}, "known gives the ids that are there")
    _expect(store.append([fresh]) == [before + 1], "a refused append leaves no gap")


def _keeps_large_appends_whole(store: EventStore, _: MakeStore) -> None:
    tools = [{"name": f"tool_{k}", "description": "the same words in every event " * 4} for k in range(20)]
    events: list[Event] = [
        AgentDecisionEvent.record(agent_id="large", context={"n": n, "text": "words " * 300}, tools_available=tools)
        for n in range(1500)
    ]
    before = store.last_position()
    _raises(EventError, lambda: store.append([*events, events[0]]), "a large append with a bad end is refused")
    _expect(store.last_position() == before, "a refused append stores nothing, however large")
    _expect(store.append(events) == list(range(before + 1, before + 1501)), "a large append has consecutive positions")
    read = list(store.read(after=before))
    _expect(read == [event.at(before + k) for k, event in enumerate(events, 1)], "a large append reads back whole")
    _expect(
        [_at(e) for e in store.read(after=before + 700, limit=2)] == [before + 701, before + 702], "from its middle"
    )


def _does_not_fail_neighbours(store: EventStore, _: MakeStore) -> None:
    known, *fresh = _events(5)
    store.append([known])
    start = store.last_position()
    futures = [store.submit([event]) for event in (fresh[0], known, fresh[1], fresh[2], known, fresh[3])]
    failed = [isinstance(future.exception(), EventError) for future in futures]
    _expect(failed == [False, True, False, False, True, False], "a refused append does not fail its neighbours")
    _expect([_at(event) for event in store.read(after=start)] == list(range(start + 1, start + 5)), "and leaves no gap")


def _refuses_what_cannot_be_stored(store: EventStore, _: MakeStore) -> None:
    before = store.last_position()
    for bad in (float("nan"), float("inf"), "\ud83d", object()):
        event = AgentDecisionEvent.record(agent_id="a", context={"value": bad})
        _raises(EventError, lambda event=event: store.append([event]), f"{bad!r} is refused")  # type: ignore[misc]
    _expect(store.last_position() == before, "a refused append stores nothing")


def _refuses_a_stale_expectation(store: EventStore, _: MakeStore) -> None:
    store.append(_events(1, "agg"), expected=Expected("agg", 0))
    store.append(_events(1, "agg"), expected=Expected("agg", 1))
    stale = Expected("agg", 1)
    _raises(ConcurrencyError, lambda: store.append(_events(1, "agg"), expected=stale), "a stale expectation is refused")
    racers = [store.submit(_events(1, "race"), expected=Expected("race", 0)) for _ in range(8)]
    winners = [future for future in racers if future.exception() is None]
    _expect(len(winners) == 1, "of several appends with the same expectation exactly one succeeds")


def _takes_threads(store: EventStore, _: MakeStore) -> None:
    start = store.last_position()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: store.append(_events(2)), range(40)))
    _expect(all(b == a + 1 for a, b in taken), "an append is not interleaved with another")
    _expect(sorted(p for pair in taken for p in pair) == list(range(start + 1, start + 81)), "threads leave no gap")


def _follows(store: EventStore, _: MakeStore) -> None:
    start = store.last_position()
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(map(_at, store.follow(after=start, timeout=0.5))))
    thread.start()
    positions = [position for _ in range(20) for position in store.append(_events(3))]
    thread.join(30)
    _expect(seen == positions, "follow gives every event once, in order, and ends when idle")


def _two_stores_see_each_other(store: EventStore, make_store: MakeStore) -> None:
    other = make_store()
    try:
        positions = [s.append(_events(1))[0] for _ in range(5) for s in (store, other)]
        _expect(positions == list(range(positions[0], positions[0] + 10)), "two stores on one log share its positions")
        _expect(store.last_position() == other.last_position(), "each store sees what the other appended")
    finally:
        other.close()


def _is_durable_and_closed(make_store: MakeStore) -> None:
    store = make_store()
    pending = [store.submit(_events(1)) for _ in range(50)]
    store.close()
    _expect(all(future.done() for future in pending), "close finishes what was submitted")
    for call in (lambda: store.append(_events(1)), lambda: list(store.read()), store.last_position):
        _raises(LogError, call, "a closed store raises LogError")
    store.close()
    again = make_store()
    _expect(again.last_position() == pending[-1].result()[0], "what was acknowledged is there after re-opening")
    again.close()


def _events(count: int, aggregate: str = "model", tenant: str = "default") -> list[Event]:
    return [
        RetrainTriggeredEvent.record(model_id=aggregate, reason="scheduled", tenant_id=tenant) for _ in range(count)
    ]


def _at(event: Event) -> int:
    return event.metadata.position or 0


def _expect(condition: bool, promise: str) -> None:
    if not condition:
        raise AssertionError(f"event store: {promise}")


def _raises(kind: type[Exception], call: Callable[[], object], promise: str) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"event store: {promise} with {kind.__name__}")
