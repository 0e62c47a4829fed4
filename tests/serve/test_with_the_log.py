"""The gateway on the real decision log: what it wrote is what training reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from tests.privacy.stored import everything

from ultracore.distillation.decisions import Decision
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve import Upstream
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall


def test_decisions_and_outcomes_come_back_from_disk(
    tmp_path: Path, world: Any, fakes: Any, teacher_url: str, teacher: Any
) -> None:
    store = SqliteEventStore(tmp_path / "log.db")

    async def talk() -> None:
        async with world.client(Upstream(teacher_url), store=store) as client:
            await client.post("/v1/chat/completions", json=fakes.chat("weather in Oslo"))
            world.student.rule = lambda state: Proposal()
            await client.post("/v1/chat/completions", json=fakes.chat(stream=True))

    asyncio.run(talk())
    store.close()
    again = SqliteEventStore(tmp_path / "log.db")
    events: list[Any] = list(again.read())
    again.close()
    decisions = [event for event in events if event.event_type == "AGENT_TOOL_SELECTED"]
    outcomes = [event for event in events if event.event_type == "DECISION_OUTCOME_RECORDED"]
    assert [event.source for event in decisions] == ["student", "teacher"]
    assert [event.status for event in outcomes] == ["ok", "ok"]
    rows = [Decision.from_row(event.to_dict()["data"] | {"event_id": event.metadata.event_id}) for event in decisions]
    assert [row.calls for row in rows] == [
        (ToolCall("weather", {"city": "Oslo"}),),
        (ToolCall("weather", {"city": "Rome"}),),
    ]
    assert rows[0].state.tools[0].fingerprint == world.gate.certificate.tools["weather"]
    assert rows[1].teacher == fakes.TEACHER


def test_all_that_is_written_of_a_request_is_the_persons_who_asked(
    tmp_path: Path, world: Any, fakes: Any, teacher_url: str, teacher: Any
) -> None:
    store = SqliteEventStore(tmp_path / "log.db")

    async def talk() -> None:
        async with world.client(
            Upstream(teacher_url), store=store, settings=msgspec.structs.replace(world.settings, audit_rate=1.0)
        ) as client:
            asked = {**fakes.chat("weather in Oslo"), "safety_identifier": "carla@example.org", "user": "other"}
            answer = await client.post("/v1/chat/completions", json=asked)
            told = {"receipt": answer.headers["x-distill-receipt"], "success": True, "result": "fine"}
            assert (await client.post("/v1/feedback", json=told)).status_code == 201

    asyncio.run(talk())
    store.close()  # what was submitted without waiting is written now
    store = SqliteEventStore(tmp_path / "log.db")
    events = [event for event in store.read() if event.personal]
    assert {event.metadata.subject for event in events} == {store.protection.pseudonym("default", "carla@example.org")}
    assert {event.event_type for event in events} >= {
        "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED", "AUDIT_RECORDED", "FEEDBACK_RECORDED"
    }  # fmt: skip
    assert b"carla" not in everything(tmp_path)
    store.close()
