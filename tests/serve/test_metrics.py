"""What /metrics counts, and what it never tells."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.keys import Scope, issue
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.students.base import Proposal


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def counts(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of the labels' names."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for s in samples}


def test_requests_outcomes_audits_and_feedback_are_counted(fakes: Any, teacher: Any, teacher_url: str) -> None:
    world = fakes.World(audit_rate=1.0)

    async def ask() -> str:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            local = await client.post("/v1/chat/completions", json=fakes.chat())
            await client.post("/v1/chat/completions", json=fakes.chat("weather in Oslo"))
            world.student.rule = lambda state: Proposal()
            await client.post("/v1/chat/completions", json=fakes.chat())
            teacher.mode = "500"
            await client.post("/v1/responses", json={"model": fakes.TEACHER, "input": "x"})
            await client.post("/v1/chat/completions", json={})
            told = {"receipt": local.headers["x-distill-receipt"], "success": True}
            await client.post("/v1/feedback", json=told)
            await asyncio.to_thread(world.store.of, "AUDIT_RECORDED", at_least=2)
            return (await client.get("/metrics")).text

    found = counts(run(ask()))
    assert found["distill_requests_total", "chat/completions", "", "student"] == 2
    assert found["distill_requests_total", "chat/completions", "text_reply", "teacher"] == 1
    assert found["distill_requests_total", "responses", "unsupported_request", "teacher"] == 1
    assert found["distill_outcomes_total", "student", "ok"] == 2
    assert found["distill_outcomes_total", "teacher", "ok"] == 2  # what the scripted teacher answers to anything
    assert (found["distill_audits_total", "yes"], found["distill_audits_total", "no"]) == (1, 1)
    assert found["distill_feedback_total", "yes"] == 1
    assert found["distill_refused_total", "400"] == 1
    assert found["distill_request_seconds_count", "student"] == 2
    assert (found["distill_events_lost_total",], found["distill_log_healthy",], found["distill_paused",]) == (0, 1, 0)
    assert found["distill_upstream_attempts_total", "audit", "ok"] == 2
    assert found["distill_unknown_cost_total", "audit"] == 2
    assert ("distill_cost_usd_total", "audit") not in found  # what has no price did not cost nothing


def test_no_label_holds_what_a_client_sent(world: Any, fakes: Any, teacher: Any, teacher_url: str) -> None:
    key = issue("canary-name", Scope.ADMIN, tenant="canary-tenant", agent_id="canary-agent")
    world.store.append([key.event])
    headers = {"authorization": f"Bearer {key.secret}", "x-distill-session": "canary-session"}

    async def ask() -> str:
        async with world.client(Upstream(teacher_url, key="canary-upstream")) as client:
            body = fakes.chat("canary-text", model="canary-model")
            await client.post("/v1/chat/completions", json=body, headers=headers)
            await client.get("/v1/canary-path", headers=headers)
            await client.get("/v1/models", headers={"authorization": "Bearer canary-guess"})
            return (await client.get("/metrics", headers=headers)).text

    page = run(ask())
    assert "canary" not in page
    assert counts(page)["distill_refused_total", "401"] == 1
    assert key.secret not in page
    assert "distill_requests_total" in page


def test_a_changed_tool_is_told_once_and_its_calls_escalate(
    world: Any, fakes: Any, teacher: Any, teacher_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    told, submit = [], world.store.submit
    world.store.submit = lambda events, **options: (told.extend(e.event_type for e in events), submit(events))[1]
    changed = json.loads(json.dumps(fakes.TOOLS))
    changed[0]["function"]["description"] += ", and of a village"

    async def ask() -> list[str]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            replies = [await client.post("/v1/chat/completions", json=fakes.chat(tools=changed)) for _ in range(3)]
            world.student.rule = lambda state: Proposal((fakes.PING_CALL,), 0.99)
            replies.append(await client.post("/v1/chat/completions", json=fakes.chat(tools=changed)))
            return [reply.headers.get("x-distill-reason", "") for reply in replies]

    assert run(ask()) == ["schema_changed"] * 3 + [""]  # only the calls of that tool
    assert told.count("TOOL_SCHEMA_CHANGED") == 1
    run(ask())  # another process: the log has the event, and takes no second one
    assert caplog.records == []
    (event,) = world.store.of("TOOL_SCHEMA_CHANGED")
    assert (event.tool, event.model_id) == ("weather", "student-1")
    assert event.certified_fingerprint == world.gate.certificate.tools["weather"] != event.offered_fingerprint
    assert world.app(None).state.gateway.journal.lost == 0


SERVING = """
import asyncio, sys
from pathlib import Path
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.settings import Settings
import httpx2

async def ask():
    app = create_app(store=SqliteEventStore(Path(sys.argv[1])), upstream=None, gate=None, settings=Settings(), env={})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 503
        print((await client.get("/metrics")).text)

asyncio.run(ask())
"""


def test_worker_processes_share_their_counts(tmp_path: Path) -> None:
    SqliteEventStore(tmp_path / "log.db").close()
    (tmp_path / "counts").mkdir()
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counts")}
    pages = [
        subprocess.run(
            [sys.executable, "-c", SERVING, str(tmp_path / "log.db")],
            env=env, capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    asked = ("distill_requests_total", "chat/completions", "not_certified", "teacher")
    assert [counts(page)[asked] for page in pages] == [1, 2]
    assert counts(pages[1])["distill_log_healthy",] == 1


def test_the_page_is_for_readers(world: Any) -> None:
    async def ask() -> httpx2.Response:
        async with world.client(None) as client:
            return await client.get("/metrics")

    reply = run(ask())
    assert reply.headers["content-type"].startswith("text/plain")
