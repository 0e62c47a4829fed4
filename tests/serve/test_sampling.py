"""The audit share falls as evidence grows, for each action of an agent, and every event says how large it was."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.events import AuditRecordedEvent, ModelDeployedEvent
from ultracore.distillation.events.base import new_event_id, utc_now
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Reason
from ultracore.distillation.serve.offer import Offer
from ultracore.distillation.serve.sampling import ENOUGH, AuditShares, audit_share
from ultracore.distillation.settings import Settings

shares = st.floats(0.0, 1.0)


@given(n=st.integers(0, 10**9), more=st.integers(0, 10**6), start=shares, least=shares)
def test_the_share_only_falls_and_stays_between_its_ends(n: int, more: int, start: float, least: float) -> None:
    share = audit_share(n, start, least)
    assert min(start, least) <= share <= start
    assert audit_share(n + more, start, least) <= share


def test_receipts_of_one_moment_are_drawn_apart() -> None:
    """A receipt begins with the time; what is drawn from it must not."""
    request = CHAT.parse(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}')
    fixed: dict[str, Any] = {
        "dialect": CHAT, "request": request, "offer": Offer(), "verdict": Escalate(Reason.FORCED), "session": "s",
        "agent_id": "a", "tenant": "t", "model_id": "m", "certificate_id": "c", "comparators": NO_COMPARATORS,
        "started": 0.0, "clock": utc_now,
    }  # fmt: skip
    for share, least, most in ((0.0, 0, 0), (0.3, 480, 720), (1.0, 2000, 2000)):
        drawn = [Exchange(receipt=new_event_id(), audit_share=share, **fixed).audited for _ in range(2000)]
        assert least <= sum(drawn) <= most


def audit(n: int, *, agent: str = "a", action: str = "weather", tenant_id: str = "default", **told: Any) -> list[Any]:
    told = {"model_id": "m", "agrees": True, "sampling_probability": 0.1, "agent_id": agent, "action": action} | told
    return [AuditRecordedEvent.record(decision_id="d", tenant_id=tenant_id, **told) for _ in range(n)]


def deployed(model_id: str) -> ModelDeployedEvent:
    figures = {
        "accuracy_vs_teacher": 1.0,
        "latency_ms": 1.0,
        "cost_per_request_usd": 0.0,
        "training_duration_hours": 0.1,
    }
    return ModelDeployedEvent.record(model_id=model_id, model_name="m", model_size=1, **figures)


def test_only_labels_of_this_action_of_this_agent_and_tenant_count() -> None:
    found = AuditShares(Settings(audit_rate=0.1, audit_floor=0.02), possible=True)
    other = [*audit(999, agent="b"), *audit(999, action="ping"), *audit(999, agrees=None), *audit(999, tenant_id="x")]
    for event in [*other, *audit(2 * ENOUGH)]:
        found.apply(event)
    assert found.of("m", "a", "weather") == pytest.approx(0.05)
    assert found.of("m", "new", "weather") == found.of("another", "a", "weather") == 0.1
    assert found.of("m", "b", "weather") == pytest.approx(0.1 * ENOUGH / 999)
    found.apply(deployed("another"))
    assert found.of("m", "a", "weather") == pytest.approx(0.05)
    found.apply(deployed("m"))
    assert found.of("m", "a", "weather") == 0.1


def test_without_a_teacher_nothing_is_audited() -> None:
    assert AuditShares(Settings(audit_rate=1.0), possible=False).of("m", "a", "x") == 0.0


def test_decision_and_audit_tell_the_share_by_which_they_were_drawn(fakes: Any, teacher: Any, teacher_url: str) -> None:
    from ultracore.distillation.serve.upstream import Upstream

    world = fakes.World(audit_rate=1.0, audit_floor=0.9)
    world.store.append(audit(2 * ENOUGH, agent="bot", model_id=world.student.model_id))
    with (
        fakes.Running(world.app(Upstream(teacher_url, key="k"))) as url,
        openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client,
    ):
        for _ in range(8):
            client.chat.completions.create(**fakes.chat(), extra_headers={"x-distill-agent": "bot"})
        told = world.store.of("AUDIT_RECORDED", at_least=2 * ENOUGH + 1)[2 * ENOUGH :]
    assert {(e.sampling_probability, e.agent_id) for e in told} == {(0.9, "bot")}
    assert {d.label_probability for d in world.store.of("AGENT_TOOL_SELECTED")} == {0.9}
