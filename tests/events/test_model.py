"""D11, D14: a log behaves as a list does, whatever is asked of it in whatever order, and whatever the clock says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ultracore.distillation.errors import ConcurrencyError, EventError
from ultracore.distillation.events import AgentDecisionEvent, Event, Expected, RetrainTriggeredEvent
from ultracore.distillation.events.block import rows
from ultracore.distillation.events.postgres.ledger import PostgresLedger
from ultracore.distillation.events.postgres.store import PostgresEventStore
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
TOOLS = [[{"name": f"tool_{k}", "description": "x" * 60} for k in range(n)] for n in (0, 1, 8)]


class LogMachine(RuleBasedStateMachine):
    """Appends, refusals, reads, restarts; the model is a list of events."""

    @initialize()
    def open_first(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.model: list[Event] = []
        self.number = 0
        self.reopen()

    def reopen(self) -> None:
        self.store = self.opened(Protection(Path(self.folder.name), redact="off", encrypt=False))

    def opened(self, protection: Protection) -> SqliteEventStore | PostgresEventStore:
        return SqliteEventStore(Path(self.folder.name) / "log.db", protection=protection)

    def ledger(self) -> SqliteLedger | PostgresLedger:
        return SqliteLedger(Path(self.folder.name) / "log.db")

    def event(self, kind: int, minutes: int) -> Event:
        self.number += 1
        at = START + timedelta(minutes=minutes)
        if kind == 3:
            return RetrainTriggeredEvent.record(
                event_id=f"e{self.number}", model_id="m", reason="scheduled", timestamp=at
            )
        return AgentDecisionEvent.record(
            event_id=f"e{self.number}", agent_id=f"a{kind}", tools_available=TOOLS[kind], tenant_id=f"t{minutes % 2}",
            context={"n": self.number, "text": "y" * (minutes % 50)}, timestamp=at,
        )  # fmt: skip

    @rule(kinds=st.lists(st.integers(0, 3), max_size=6), minutes=st.integers(-3000, 3000))
    def append(self, kinds: list[int], minutes: int) -> None:
        events = [self.event(kind, minutes + k) for k, kind in enumerate(kinds)]
        first = len(self.model) + 1
        assert self.store.append(events) == list(range(first, first + len(events)))
        self.model += [event.at(first + k) for k, event in enumerate(events)]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def append_known(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.model))
        with pytest.raises(EventError, match="already"):
            self.store.append([self.event(0, 0), known])

    @rule(stale=st.booleans())
    def append_expecting(self, stale: bool) -> None:
        count = sum(event.metadata.aggregate_id == "m" for event in self.model)
        event = self.event(3, 1)
        if stale:
            with pytest.raises(ConcurrencyError):
                self.store.append([event], expected=Expected("m", count + 1))
        else:
            (position,) = self.store.append([event], expected=Expected("m", count))
            self.model.append(event.at(position))

    @rule(
        after=st.integers(0, 40), until=st.none() | st.integers(0, 60), limit=st.none() | st.integers(0, 9),
        types=st.none() | st.sets(st.sampled_from(["AGENT_TOOL_SELECTED", "RETRAIN_TRIGGERED"])),
        tenant=st.sampled_from([None, "t0", "t1"]), agent=st.sampled_from([None, "a0", "a1", "other"]),
        since=st.none() | st.integers(-3000, 3000), until_time=st.none() | st.integers(-3000, 3000),
        zone=st.integers(-12, 12),
    )  # fmt: skip
    def read(self, since: int | None, until_time: int | None, zone: int, **filters: Any) -> None:
        def at(minutes: int | None) -> datetime | None:
            return None if minutes is None else START + timedelta(minutes=minutes)

        def written(time: datetime | None) -> str | None:
            return time and time.astimezone(timezone(timedelta(hours=zone))).isoformat()

        expected = list(filter(passes(since=at(since), until_time=at(until_time), **filters), self.model))
        found = list(self.store.read(since=written(at(since)), until_time=written(at(until_time)), **filters))
        assert found == expected[: filters["limit"]]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.reopen()

    @invariant()
    def is_the_list(self) -> None:
        if hasattr(self, "store"):
            assert self.store.last_position() == len(self.model)
            assert self.store.known([f"e{n}" for n in range(self.number + 2)]) == {
                event.metadata.event_id for event in self.model
            }

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        assert list(self.store.read()) == self.model
        self.store.close()
        ledger = self.ledger()
        assert verify(ledger).findings == []
        assert sum(len(rows(chained.block)) for chained in ledger.blocks()) == len(self.model)
        ledger.close()
        self.folder.cleanup()


class PostgresMachine(LogMachine):
    """The same of a log in PostgreSQL, in one database that is emptied for each run."""

    url = ""

    @initialize()
    def open_first(self) -> None:
        with psycopg.connect(self.url) as owner:
            owner.execute("DROP SCHEMA IF EXISTS distill CASCADE")
        super().open_first()

    def opened(self, protection: Protection) -> SqliteEventStore | PostgresEventStore:
        return PostgresEventStore(self.url, protection=protection)

    def ledger(self) -> SqliteLedger | PostgresLedger:
        return PostgresLedger(self.url)


def passes(
    after: int, until: int | None, types: set[str] | None, tenant: str | None, agent: str | None,
    since: datetime | None, until_time: datetime | None, limit: int | None,
) -> Callable[[Event], bool]:  # fmt: skip
    """What `read` promises, said again."""

    def keep(event: Event) -> bool:
        m, at = event.metadata, datetime.fromisoformat(event.metadata.timestamp)
        return all(
            (
                after < (m.position or 0) <= (1000 if until is None else until),
                types is None or m.event_type in types,
                tenant is None or m.tenant_id == tenant,
                agent is None or getattr(event, "agent_id", None) == agent,
                since is None or at >= since,
                until_time is None or at <= until_time,
            )
        )

    return keep


@pytest.mark.parametrize(
    ("runs", "steps"), [(8, 25), pytest.param(500, 50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_log_is_a_list(runs: int, steps: int) -> None:
    check_machine(LogMachine, runs, steps)


@pytest.mark.parametrize(("runs", "steps"), [(8, 25), pytest.param(100, 50, marks=pytest.mark.slow)])
def test_a_log_in_postgres_is_a_list(database: str, runs: int, steps: int) -> None:
    check_machine(type("Machine", (PostgresMachine,), {"url": database}), runs, steps)


def check_machine(machine: type[LogMachine], runs: int, steps: int) -> None:
    kept = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine, settings=kept)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    "steps",
    [
        [timedelta(0), HOUR, -HOUR, DAY, -DAY],
        [timedelta(seconds=k) for k in (0, 1, -1, 2)],
        [datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC) - START, datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC) - START],
        [datetime(1969, 12, 31, tzinfo=UTC) - START, datetime(9999, 12, 31, tzinfo=UTC) - START],
    ],
    ids=["an hour and a day", "back-step", "2038", "far"],
)
def test_positions_order_whatever_the_clock_says(tmp_path: Path, steps: list[timedelta]) -> None:
    times = [START + step for step in steps]
    clock = iter(times)
    store = SqliteEventStore(tmp_path / "log.db")
    for _ in times:
        store.append([AgentDecisionEvent.record(agent_id="a", clock=lambda: next(clock))])
    read = list(store.read())
    assert [event.metadata.position for event in read] == list(range(1, len(times) + 1))
    assert [datetime.fromisoformat(event.metadata.timestamp) for event in read] == times
    for bound in times:
        late = [event.metadata.position for event in store.read(since=bound.isoformat())]
        assert late == [k for k, time in enumerate(times, 1) if time >= bound]
    store.close()


def test_an_hour_that_comes_twice_is_told_apart_by_its_offset(tmp_path: Path) -> None:
    summer, winter = (datetime.fromisoformat(f"2026-10-25T02:30:00{offset}") for offset in ("+02:00", "+01:00"))
    store = SqliteEventStore(tmp_path / "log.db")
    store.append([AgentDecisionEvent.record(agent_id="a", timestamp=time) for time in (winter, summer)])
    assert [event.metadata.position for event in store.read(since="2026-10-25T02:30:00+01:00")] == [1]
    assert [event.metadata.position for event in store.read(until_time="2026-10-25T02:30:00+02:00")] == [2]
    store.close()
