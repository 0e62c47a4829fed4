"""Each detector finds its own change, says what it compared, and is silent where nothing changed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from ultracore.distillation.decisions import decisions_from_rows
from ultracore.distillation.events import (
    AgentDecisionEvent,
    AlertRaisedEvent,
    AuditRecordedEvent,
    DriftDetectedEvent,
    Event,
    ModelEvaluatedEvent,
)
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.mix import mix_of
from ultracore.distillation.watch.traffic import LEAST, WINDOW, Traffic
from ultracore.distillation.watch.watcher import Watcher

TOOLS = ("track", "refund", "cancel", "quote")
SUBJECTS = {"track": "where is my parcel", "refund": "i want my money back", "cancel": "stop it", "quote": "how much"}


def decided(rng: np.random.Generator, n: int, **change: Any) -> list[Event]:
    """Traffic through a gateway; `change` says what is different about it."""
    events: list[Event] = []
    for k in range(n):
        subject = str(rng.choice(TOOLS, p=change.get("mix", [0.25] * 4)))
        said = change.get("said", SUBJECTS[subject])
        number = int(rng.integers(20))
        local = rng.random() < change.get("coverage", 0.5)
        swapped = change.get("policy", {}).get(subject, subject)
        event = AgentDecisionEvent.record(
            agent_id="bot", session_id=f"{rng.integers(10**9)}", source="student" if local else "teacher",
            context={"messages": [{"role": "user", "content": f"{said} {number}"}]},
            tools_available=[{"name": name} for name in change.get("offered", TOOLS)],
            tool_selected=subject if local else swapped,
            tool_calls=[{"name": subject if local else swapped, "arguments": {"n": number}}],
            serving={"reason": None if local else change.get("reason", "low_confidence")},
        )  # fmt: skip
        events.append(event.at(k + 1))
        if local and rng.random() < change.get("audited", 0.1):
            calls = [{"name": swapped, "arguments": {"n": number}}]
            events.append(
                AuditRecordedEvent.record(
                    decision_id=event.metadata.event_id, model_id="m", action=subject, agrees=swapped == subject,
                    sampling_probability=0.1, teacher_calls=calls, agent_id="bot",
                )
            )  # fmt: skip
    return events


def compared(world: Any, *windows: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    rng, traffic = np.random.default_rng(seed), Traffic()
    for change in windows:
        for event in decided(rng, WINDOW, **change):
            traffic.apply(event)
    assert traffic.due(world.now)
    return {found.detector: found for found in traffic.compare(world.now, None)}


def test_traffic_as_before_alarms_nobody(world: Any) -> None:
    found = compared(world, {}, {})
    assert set(found) == {"actions", "words", "offers", "states", "escalations", "teacher", "schemas"}
    assert not any(one.alarmed for one in found.values())
    assert all(one.score < 0.1 for one in found.values())
    assert {one.recent_count for name, one in found.items() if name != "teacher"} == {WINDOW}


@pytest.mark.parametrize(
    ("change", "detectors"),
    [
        ({"mix": [0.7, 0.1, 0.1, 0.1]}, {"actions", "words", "states"}),
        ({"said": "ou est le colis"}, {"words", "states"}),
        ({"offered": (*TOOLS, "escalate")}, {"offers"}),
        ({"coverage": 0.2}, {"escalations"}),
        ({"reason": "schema_changed"}, {"escalations", "schemas"}),
        ({"policy": {"track": "refund"}}, {"teacher"}),
    ],
)
def test_each_change_is_named(world: Any, change: dict[str, Any], detectors: set[str]) -> None:
    found = compared(world, {}, change)
    alarmed = {name for name, one in found.items() if one.alarmed}
    assert detectors <= alarmed
    if detectors != {"teacher"}:
        assert alarmed <= detectors | {"states", "words"}
    assert all(found[name].p_value <= 0.001 for name in detectors)


def test_a_teacher_that_contradicts_itself_as_ever_has_not_changed(world: Any) -> None:
    rng, traffic = np.random.default_rng(1), Traffic()
    for _ in range(4):
        for policy in ({}, {"track": "refund"}):
            for event in decided(rng, WINDOW // 4, policy=policy, coverage=0.0):
                traffic.apply(event)
    found = {one.detector: one for one in traffic.compare(world.now, None)}
    assert not found["teacher"].alarmed
    alike = float(found["teacher"].detail.split()[4].strip("%,"))
    assert 80 < alike < 95  # of a quarter of the contexts every other decision contradicts the one before


def test_a_window_is_compared_once_it_is_full_or_a_day_old(world: Any) -> None:
    rng, traffic = np.random.default_rng(2), Traffic()
    for event in decided(rng, WINDOW, audited=0):
        traffic.apply(event)
    assert not traffic.due(world.now)
    for event in decided(rng, LEAST, audited=0):
        traffic.apply(event)
    assert traffic.due(world.now)
    traffic.compare(world.now, None)
    for event in decided(rng, LEAST, audited=0):
        traffic.apply(event)
    assert not traffic.due(world.now)
    world.later(days=1)
    assert traffic.due(world.now)


def test_imported_traces_and_rows_that_nobody_can_read_are_not_traffic(world: Any) -> None:
    traffic = Traffic()
    imported = [
        msgspec.structs.replace(e, origin={"file": "x"}) for e in decided(np.random.default_rng(0), 10, audited=0)
    ]
    for event in [
        *imported,
        AgentDecisionEvent.record(agent_id="a", tools_available=[{"name": ""}], tool_selected="x"),
    ]:
        traffic.apply(event)
    assert not traffic.due(world.now)
    assert traffic.compare(world.now, None) == []


def test_the_watcher_writes_drift_and_its_alert_down_once(world: Any) -> None:
    world.deploy()
    rng = np.random.default_rng(3)
    events = decided(rng, 300, audited=0)
    rows = [{**e.to_dict()["data"], "event_id": e.metadata.event_id} for e in events]
    reference = {"reference_mix": msgspec.to_builtins(mix_of(decisions_from_rows(rows)))}
    world.store.append([ModelEvaluatedEvent.record(model_id="m", data_id="d", decisions=300, metrics=reference)])
    world.store.append(decided(rng, WINDOW, audited=0))
    world.store.append(decided(rng, LEAST, audited=0, mix=[0.9, 0.05, 0.05, 0.0]))
    watched = Watcher(world.store, Settings(), clock=world.clock)
    kinds = {event.event_type for event in watched.look().appended}
    assert kinds == {"DRIFT_DETECTED", "ALERT_RAISED"}
    (alert,) = world.of(AlertRaisedEvent)
    assert alert.name == "drift_high"
    (told,) = [event for event in world.of(DriftDetectedEvent) if event.detector == "actions"]
    assert (told.reference_count, told.recent_count) == (300, LEAST)
    assert told.p_value <= 0.001
    assert len(told.window) == 2
    before = len(world.of(DriftDetectedEvent))
    again = Watcher(world.store, Settings(), clock=world.clock)  # the first one was killed
    assert again.look().appended == []
    assert {one.detector for one in again.look().drift if one.alarmed} >= {"actions"}
    assert len(world.of(DriftDetectedEvent)) == before
    world.store.append(decided(rng, WINDOW, audited=0, mix=[0.9, 0.05, 0.05, 0.0]))
    assert [e for e in again.look().appended if isinstance(e, DriftDetectedEvent) and e.detector == "actions"] == []
    world.later(days=1)
    world.store.append(decided(rng, WINDOW, audited=0, mix=[0.9, 0.05, 0.05, 0.0]))
    assert "actions" in {e.detector for e in again.look().appended if isinstance(e, DriftDetectedEvent)}


def test_a_watcher_that_begins_late_sees_the_windows_of_one_that_was_there(world: Any) -> None:
    world.deploy()
    rng = np.random.default_rng(4)
    early = Watcher(world.store, Settings(), clock=world.clock)
    early.look()
    world.store.append(decided(rng, WINDOW, audited=0))
    world.store.append(decided(rng, WINDOW, audited=0))
    early.look()
    late = Watcher(world.store, Settings(), clock=world.clock)
    assert late.look().drift == early.look().drift != []
