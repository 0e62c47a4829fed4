"""What a student answered is never a label, whoever reads the log to learn from it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, Event
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.labels import AUDITED, labelled_rows
from ultracore.distillation.log.of_log import LogQuery, read_log

DECISIONS = 10_000
TOOLS = [{"name": "told_by_teacher"}, {"name": "said_by_student"}]


def call(name: str) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": {"n": 1}}]


def traffic(rng: random.Random) -> list[Event]:
    events: list[Event] = []
    for number in range(DECISIONS):
        local = rng.random() < 0.5
        name = TOOLS[local]["name"]
        decision = AgentDecisionEvent.record(
            agent_id="bot", session_id=f"s{number // 5}", source="student" if local else "teacher",
            context={"messages": [{"role": "user", "content": f"question {number}"}]}, tools_available=TOOLS,
            tool_selected=name, tool_calls=call(name), tool_parameters={"n": 1}, confidence=0.9,
        )  # fmt: skip
        events.append(decision)
        if local and rng.random() < 0.2:
            agrees = rng.choice([True, False, None])  # None: the teacher could not be asked
            events.append(
                AuditRecordedEvent.record(
                    decision_id=decision.metadata.event_id, model_id="m", action=name, agrees=agrees,
                    sampling_probability=0.2, teacher_calls=[] if agrees is None else call("told_by_teacher"),
                )
            )  # fmt: skip
    return events


def test_none_of_ten_thousand_answers_of_a_student_is_a_label(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db", protection=Protection(tmp_path / "keys", redact="off", encrypt=False))
    events = traffic(random.Random(0))
    store.append(events)
    audited = {e.decision_id for e in events if isinstance(e, AuditRecordedEvent) and e.agrees is not None}
    teacher = {e.metadata.event_id for e in events if isinstance(e, AgentDecisionEvent) and e.source == "teacher"}
    rows = labelled_rows(store)
    assert {row["event_id"] for row in rows} == teacher | audited
    assert {row["tool_selected"] for row in rows} == {"told_by_teacher"}
    assert {tuple(c["name"] for c in row["tool_calls"]) for row in rows} == {("told_by_teacher",)}
    assert {(row["source"], row["weight"]) for row in rows} == {("teacher", 1.0), (AUDITED, 5.0)}
    assert {decision.event_id for decision in read_log(store, LogQuery()).decisions} == teacher
    store.close()
