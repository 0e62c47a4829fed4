"""What users say of an answer, once, and only of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ultracore.distillation.log.history import rows_from_log
from ultracore.distillation.serve.feedback import RequestIds
from ultracore.distillation.serve.upstream import Upstream

FEEDBACK = "FEEDBACK_RECORDED"
FORCE = {"x-distill-force": "teacher"}


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_feedback_by_receipt_or_by_the_id_that_the_client_saw(
    world: Any, fakes: Any, teacher: Any, teacher_url: str
) -> None:
    async def ask() -> list[Any]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            local = await client.post("/v1/chat/completions", json=fakes.chat())
            response = await client.post(
                "/v1/responses", json={"model": fakes.TEACHER, "input": "weather in Oslo", "tools": fakes.TOOLS, "store": False}
            )  # fmt: skip
            relayed = await client.post("/v1/chat/completions", json=fakes.chat(), headers=FORCE)
            told = [
                {"receipt": local.headers["x-distill-receipt"], "success": True, "score": 0.5, "result": {"kept": 1}},
                {"request_id": response.json()["id"], "success": False, "error": "wrong city", "cost_usd": 0.1},
                {"request_id": relayed.json()["id"], "success": True},
            ]
            return [await client.post("/v1/feedback", json=body) for body in told] + [local, response, relayed]

    *answers, local, response, relayed = run(ask())
    assert [answer.status_code for answer in answers] == [201] * 3
    receipts = [reply.headers["x-distill-receipt"] for reply in (local, response, relayed)]
    assert [answer.json()["receipt"] for answer in answers] == receipts
    found = world.store.of(FEEDBACK, at_least=3)
    assert [f.decision_id for f in found] == receipts
    assert [(f.success, f.score, f.result, f.error, f.cost_usd) for f in found[:2]] == [
        (True, 0.5, {"kept": 1}, None, None),
        (False, None, None, "wrong city", 0.1),
    ]
    row = next(row for row in rows_from_log(world.store, include_student=True) if row["event_id"] == receipts[1])
    assert (row["outcome"]["success"], row["outcome"]["error"], row["outcome"]["status"]) == (False, "wrong city", "ok")


def test_feedback_is_written_once_however_often_it_is_told(world: Any, fakes: Any) -> None:
    async def ask() -> list[int]:
        async with world.client(None) as client:
            reply = await client.post("/v1/chat/completions", json=fakes.chat())
            body = {"receipt": reply.headers["x-distill-receipt"], "success": True}
            told = await asyncio.gather(*(client.post("/v1/feedback", json=body) for _ in range(8)))
            told.append(await client.post("/v1/feedback", json={**body, "success": False}))
            return [answer.status_code for answer in told]

    assert sorted(run(ask())) == [201] + [409] * 8
    (found,) = world.store.of(FEEDBACK)
    assert found.success is True


def test_of_a_request_that_failed_one_may_complain(world: Any, fakes: Any, teacher: Any, teacher_url: str) -> None:
    teacher.mode = "500"

    async def ask() -> int:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            reply = await client.post("/v1/chat/completions", json=fakes.chat(), headers=FORCE)
            body = {"receipt": reply.headers["x-distill-receipt"], "success": False}
            return (await client.post("/v1/feedback", json=body)).status_code

    assert run(ask()) == 201


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"receipt": "nobody", "success": True}, 404),
        ({"request_id": "chatcmpl-" + "0" * 32, "success": True}, 404),
        ({"request_id": "", "success": True}, 404),
        ({"receipt": "", "success": True}, 404),
        ({"success": True}, 400),
        ({"receipt": "r", "request_id": "r", "success": True}, 400),
        ({"receipt": "r"}, 400),
        ({"receipt": "r", "success": "yes"}, 400),
        ({"receipt": 5, "success": True}, 400),
        ({"receipt": "r", "success": True, "score": 1.5}, 400),
        ({"receipt": "r", "success": True, "brand_new": 1}, 400),
        ([], 400),
    ],
    ids=str,
)
def test_what_is_no_feedback_is_refused(world: Any, body: Any, status: int) -> None:
    async def ask() -> Any:
        async with world.client(None) as client:
            return await client.post("/v1/feedback", json=body)

    reply = run(ask())
    assert reply.status_code == status
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
    assert world.store.of(FEEDBACK, at_least=0) == []


@pytest.mark.parametrize("fault", ["down", "unreadable"])
def test_while_the_log_is_down_feedback_is_refused_so_that_it_is_told_again(world: Any, fakes: Any, fault: str) -> None:
    async def ask() -> Any:
        async with world.client(None) as client:
            reply = await client.post("/v1/chat/completions", json=fakes.chat())
            setattr(world.store, fault, True)
            body = {"receipt": reply.headers["x-distill-receipt"], "success": True}
            refused = await client.post("/v1/feedback", json=body)
            setattr(world.store, fault, False)
            return refused, await client.post("/v1/feedback", json=body)

    refused, told = run(ask())
    assert (refused.status_code, refused.headers["retry-after"], told.status_code) == (503, "1", 201)
    assert "secret" not in refused.text


def test_the_ids_that_are_remembered_are_bounded_and_each_tenants_own(fakes: Any, world: Any, monkeypatch: Any) -> None:
    from ultracore.distillation.events import AgentDecisionEvent

    monkeypatch.setattr("ultracore.distillation.serve.feedback.MAX_IDS", 2)
    ids = RequestIds()
    for number in range(3):
        ids.wrote(AgentDecisionEvent.record(agent_id="a", tenant_id="acme", serving={"request_id": f"id-{number}"}))
    assert [bool(ids.receipt("acme", f"id-{number}")) for number in range(3)] == [False, True, True]
    assert ids.receipt("default", "id-2") == ""
