"""The operator's word: modes, the pause switch, budgets, and how an agent is known."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import GatewayPausedEvent, GatewayResumedEvent, UpstreamAttemptedEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.budget import Budgets
from ultracore.distillation.serve.control import Switch
from ultracore.distillation.serve.gate import Reason
from ultracore.distillation.serve.keys import issue
from ultracore.distillation.serve.policy import Policy, workload_of
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import AgentPolicy, Settings, load_settings
from ultracore.distillation.students.base import Proposal

DECISION, SHADOW = "AGENT_TOOL_SELECTED", "SHADOW_RECORDED"


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def word(settings: Settings, agent_id: str = "a", tenant: str = "default", session: str = "s", **changes: Any) -> Any:
    switch = Switch()
    if changes.pop("paused", False):
        switch.apply(GatewayPausedEvent.record())
    verdict = Policy(settings, switch).before(
        agent_id=agent_id, tenant=tenant, session=session, forced=changes.pop("forced", False)
    )
    return None if verdict is None else verdict.reason


def test_the_operators_word_on_a_request() -> None:
    active = Settings()
    assert word(active) is None
    assert word(active, forced=True) == Reason.FORCED
    assert word(active, paused=True) == Reason.POLICY
    assert word(active, tenant="acme") == Reason.NOT_CERTIFIED
    assert word(Settings(mode="observe")) == word(Settings(mode="shadow")) == Reason.POLICY
    assert word(Settings(mode="canary", canary_share=0.0)) == Reason.ROLLOUT
    assert word(Settings(mode="canary", canary_share=1.0)) is None
    named = Settings(mode="observe", agents={"a": AgentPolicy(mode="active")})
    assert (word(named), word(named, "b")) == (None, Reason.POLICY)


@given(share=st.floats(0, 1), session=st.text(max_size=20))
def test_a_canary_keeps_a_conversation_on_one_side(share: float, session: str) -> None:
    canary = Settings(mode="canary", canary_share=share)
    side = word(canary, session=session)
    assert side == word(canary, session=session)
    wider = Settings(mode="canary", canary_share=min(1.0, share + 0.3))
    if side is None:  # a growing canary takes nobody's student away
        assert word(wider, session=session) is None


def test_a_canary_takes_its_share() -> None:
    canary = Settings(mode="canary", canary_share=0.3)
    taken = sum(word(canary, session=f"s{i}") is None for i in range(2000))
    assert 0.26 < taken / 2000 < 0.34


def test_a_workload_is_known_by_its_prompt_whatever_varies_in_it() -> None:
    def named(prompt: str) -> str:
        return workload_of([{"role": "system", "content": prompt}, {"role": "user", "content": str(time.monotonic())}])

    first = named(
        "You help ann@example.org (customer 6f9619ff-8b86-d011-b42d-00c04fc964ff). Today: Friday, 13 March 2026."
    )
    assert first == named(
        "You help bo@b.de (customer 00000000-8b86-d011-b42d-00c04fc964aa). Today: Monday, 1 June 2027."
    )
    assert first != named("You insult ann@example.org (customer 1). Today: Friday, 13 March 2026.")


def test_the_agent_is_the_keys_else_the_headers_else_the_workload(world: Any, fakes: Any) -> None:
    fixed, free = issue("fixed", agent_id="billing"), issue("free")
    world.store.append([fixed.event, free.event])

    async def ask() -> None:
        async with world.client(None) as client:
            for secret, name in ((fixed.secret, "mine"), (free.secret, "mine"), (free.secret, "")):
                headers = {"authorization": f"Bearer {secret}", "x-distill-agent": name}
                assert (
                    await client.post("/v1/chat/completions", json=fakes.chat(), headers=headers)
                ).status_code == 200

    run(ask())
    agents = [decision.agent_id for decision in world.store.of(DECISION, at_least=3)]
    assert agents == ["billing", "mine", workload_of(fakes.chat()["messages"])]


def test_the_shadow_is_asked_after_the_answer_and_never_answers(fakes: Any, teacher: Any, teacher_url: str) -> None:
    world = fakes.World(mode="shadow", audit_rate=0.0)

    async def ask() -> list[Any]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            replies = [await client.post("/v1/chat/completions", json=fakes.chat())]
            replies.append(await client.post("/v1/chat/completions", json=fakes.chat("weather in Oslo", stream=True)))
            await asyncio.to_thread(world.store.of, SHADOW, at_least=2)
            world.student.rule = lambda state: Proposal()
            replies.append(await client.post("/v1/chat/completions", json=fakes.chat()))
            teacher.mode = "500"
            replies.append(await client.post("/v1/chat/completions", json=fakes.chat()))
            return replies

    replies = run(ask())
    assert replies[0].content == fakes.ROME
    assert {reply.headers["x-distill-source"] for reply in replies} == {"teacher"}
    assert {reply.headers["x-distill-reason"] for reply in replies} == {"policy"}
    found = world.store.of(SHADOW, at_least=4)
    assert [(s.would_send, s.reason, s.agrees) for s in found] == [
        (True, None, True),
        (True, None, False),
        (False, "text_reply", False),
        (False, "text_reply", None),
    ]
    assert found[0].calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    assert (found[0].model_id, found[0].confidence) == ("student-1", 0.99)
    assert {d.source for d in world.store.of(DECISION, at_least=3)} == {"teacher"}


@pytest.mark.parametrize("mode", ["observe", "active", "canary"])
def test_only_a_shadow_runs_beside(fakes: Any, teacher: Any, teacher_url: str, mode: str) -> None:
    world = fakes.World(mode=mode, audit_rate=0.0)

    async def ask() -> None:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            await client.post("/v1/chat/completions", json=fakes.chat(), headers={"x-distill-force": "teacher"})

    run(ask())
    assert (world.student.asked, world.store.of(SHADOW, at_least=0)) == (0, [])


def test_a_pause_is_obeyed_by_every_process_within_a_second(
    tmp_path: Path, fakes: Any, world: Any, teacher: Any, teacher_url: str
) -> None:
    """Two gateways with a store each on one file stand for two worker processes, a third writes."""
    stores = [SqliteEventStore(tmp_path / "log.db") for _ in range(3)]
    apps = [world.app(Upstream(teacher_url, key="sk"), store=store) for store in stores[:2]]

    def sources(urls: list[str]) -> list[str]:
        replies = [httpx2.post(url + "/chat/completions", json=fakes.chat()) for url in urls]
        return [reply.headers["x-distill-source"] for reply in replies]

    def until(urls: list[str], expected: str) -> float:
        began = time.monotonic()
        while set(sources(urls)) != {expected}:
            assert time.monotonic() < began + 5
        return time.monotonic() - began

    with fakes.Running(apps[0]) as first, fakes.Running(apps[1]) as second:
        urls = [first, second]
        assert sources(urls) == ["student", "student"]
        stores[2].append([GatewayPausedEvent.record(reason="incident")])
        assert until(urls, "teacher") < 1.0
        assert httpx2.get(first.removesuffix("/v1") + "/readyz").json()["paused"] is True
        stores[2].append([GatewayResumedEvent.record()])
        assert until(urls, "student") < 1.0
    for store in stores:
        store.close()


def test_a_pause_over_http_holds_at_once_and_after_a_restart(world: Any, fakes: Any) -> None:
    async def ask() -> list[Any]:
        async with world.client(None) as client:
            paused = await client.post("/admin/pause")
            return [paused, await client.post("/v1/chat/completions", json=fakes.chat())]

    paused, refused = run(ask())
    assert paused.json() == {"paused": True}
    assert (refused.status_code, refused.headers["x-distill-reason"]) == (503, "policy")
    assert world.app(None).state.gateway.switch.paused
    world.store.append([GatewayResumedEvent.record()])
    assert not world.app(None).state.gateway.switch.paused


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def _spend(folder: Path, policy: AgentPolicy, tries: int) -> int:
    budgets, taken = Budgets(folder, lambda: NOON), 0
    for _ in range(tries):
        try:
            budgets.take("a", policy)
            taken += 1
        except RequestError:
            pass
    return taken


def _spend_apart(folder: Path, policy: AgentPolicy, tries: int, found: Any) -> None:
    found.put(_spend(folder, policy, tries))


def test_a_budget_is_exact_over_processes_and_restarts(tmp_path: Path) -> None:
    policy = AgentPolicy(teacher_requests_per_day=50)
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    running = [context.Process(target=_spend_apart, args=(tmp_path, policy, 40, found)) for _ in range(3)]
    for process in running:
        process.start()
    taken = [found.get(timeout=120) for _ in running]
    for process in running:
        process.join()
    assert sum(taken) == 50
    assert _spend(tmp_path, policy, 5) == 0
    tomorrow = Budgets(tmp_path, lambda: NOON.replace(day=2))
    tomorrow.take("a", policy)
    tomorrow.take("b", policy)
    assert len(list(tmp_path.iterdir())) == 2  # yesterday's file is gone


def test_dollars_count_what_was_paid_audits_included(tmp_path: Path) -> None:
    policy = AgentPolicy(teacher_dollars_per_day=1.0)
    budgets = Budgets(tmp_path, lambda: NOON)

    def paid(receipt: str, role: str) -> None:
        data = {"decision_id": receipt, "role": role, "model": "m", "status": "ok", "duration_ms": 1.0}
        budgets.wrote(UpstreamAttemptedEvent.record(**data, cost_usd=0.5))

    budgets.take("a", policy)
    budgets.note("r-1", "a", policy)
    paid("r-1", "answer")
    paid("r-unknown", "answer")
    budgets.take("a", policy)
    paid("r-1", "audit")
    with pytest.raises(RequestError) as refused:
        budgets.take("a", policy)
    assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
    assert refused.value.headers["retry-after"] == str(12 * 3600 + 1)
    budgets.take("b", policy)
    with pytest.raises(RequestError, match="no price"):
        budgets.take("b", policy, priced=False)
    budgets.take("b", AgentPolicy(teacher_requests_per_day=9), priced=False)


def test_a_spent_budget_leaves_local_answers_and_other_agents_alone(
    fakes: Any, teacher: Any, teacher_url: str, tmp_path: Path
) -> None:
    agents = {"big": AgentPolicy(teacher_requests_per_day=2)}
    world = fakes.World(home=str(tmp_path), teacher_requests_per_day=1, agents=agents, audit_rate=0.0)
    force = {"x-distill-force": "teacher"}

    async def ask() -> list[int]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            replies = [
                await client.post("/v1/chat/completions", json=fakes.chat(), headers=headers)
                for headers in (force, force, {}, *[force | {"x-distill-agent": "big"}] * 3)
            ]
            return [reply.status_code for reply in replies]

    assert run(ask()) == [200, 429, 200, 200, 200, 429]
    statuses = [outcome.status for outcome in world.store.of("DECISION_OUTCOME_RECORDED", at_least=6)]
    assert statuses.count("error") == 2


def test_agents_are_set_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "distill.toml"
    file.write_text('mode = "observe"\n[agents.billing]\nmode = "canary"\ncanary_share = 0.5\n')
    settings = load_settings(file, env={})
    assert (settings.mode, settings.agents["billing"].canary_share) == ("observe", 0.5)
    for wrong in ("[agents.x]\ncanary_share = 2.0\n", "[agents.x]\nmodus = 1\n", 'mode = "sometimes"\n'):
        file.write_text(wrong)
        with pytest.raises(ConfigurationError):
            load_settings(file, env={})
