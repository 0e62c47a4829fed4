"""What calls cost: from a price table that is the operator's own, and unknown where it is not known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, UpstreamAttemptedEvent
from ultracore.distillation.serve.audit import AuditLimits, Auditor, _DailyBudget
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.prices import Price, Prices
from ultracore.distillation.serve.upstream.targets import read_targets
from ultracore.distillation.serve.wire import parse_chat_request
from ultracore.distillation.watch.costs import tally

FILE = """
[[target]]
url = "https://api.openai.com/v1"
key_env = "OPENAI_API_KEY"

[[target]]
url = "http://vllm:8000/v1"
private = true
models = ["qwen3-*"]

[deadlines]
first_byte = 90

[price."gpt-4.1"]
input = 2.0
cached_input = 0.5
output = 8.0

[price."gpt-4.1-*"]
input = 1.0
output = 2.0
"""


def test_the_file_of_targets(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(FILE)
    file = read_targets(tmp_path / "t.toml")
    assert [target.private for target in file.target] == [False, True]
    assert (file.deadlines.first_byte, file.deadlines.connect) == (90.0, 5.0)
    assert [t.serves("gpt-4.1") for t in file.target] == [True, False]
    prices = Prices(file.price)
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 400_000}}
    assert prices.cost("gpt-4.1", usage) == pytest.approx(0.6 * 2.0 + 0.4 * 0.5)
    assert prices.cost("gpt-4.1-mini", usage) == pytest.approx(1.0)
    assert prices.cost("o9", usage) is None
    assert prices.cost("gpt-4.1", None) is None
    assert prices.cost("gpt-4.1", {"prompt_tokens": 3}) is None
    assert prices.cost("gpt-4.1", {"input_tokens": 1_000_000, "output_tokens": 1_000_000}) == pytest.approx(10.0)


@pytest.mark.parametrize(
    "text",
    [
        "[[target]]\nurl = 5",
        "[[target]]\nurl = 'http://x/v1'\nkey_env = 'A'\npass_authorization = true",
        "[[target]]\nurl = 'http://x/v1'\nsurprise = 1",
        "[deadlines]\nidle = 0",
        "[price.m]\ninput = 1",
        "= 1",
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"t\.toml"):
        read_targets(tmp_path / "t.toml")


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 1.0)), min_size=1, max_size=30))
def test_agreement_weighs_each_audit_by_the_inverse_of_its_probability(audits: list[tuple[bool, float]]) -> None:
    events = [
        AuditRecordedEvent.record(decision_id="d", model_id="m", action="a", agrees=agrees, sampling_probability=p)
        for agrees, p in audits
    ]
    expected = sum(agrees / p for agrees, p in audits) / sum(1 / p for _, p in audits)
    assert tally(events).agreement == pytest.approx(expected)


def attempt(role: str, cost: float | None) -> UpstreamAttemptedEvent:
    return UpstreamAttemptedEvent.record(
        decision_id="d", role=role, model="m", status="ok", duration_ms=1.0, cost_usd=cost
    )


def decision(source: str, *, served: bool = True) -> AgentDecisionEvent:
    return AgentDecisionEvent.record(agent_id="a", source=source, serving={} if served else None)


def audit(agrees: bool | None) -> AuditRecordedEvent:
    return AuditRecordedEvent.record(decision_id="d", model_id="m", action="a", agrees=agrees, sampling_probability=0.5)


def test_a_correct_decision_costs_its_retries_and_its_audits_too() -> None:
    events: list[Any] = [decision("teacher")] * 2 + [decision("student")] * 8 + [decision("teacher", served=False)] * 5
    events += [attempt("answer", 0.0), attempt("answer", 0.01), attempt("answer", 0.01), attempt("audit", 0.02)]
    events += [audit(True), audit(True), audit(True), audit(False), audit(None)]
    costs = tally(events)
    assert (costs.teacher, costs.student, costs.labelled, costs.unlabelled) == (2, 8, 4, 1)
    assert costs.total == pytest.approx(0.04)
    assert costs.per_decision == pytest.approx(0.004)
    assert costs.per_correct_decision == pytest.approx(0.04 / (2 + 8 * 0.75))


def test_what_is_unknown_is_not_given() -> None:
    costs = tally([decision("teacher"), attempt("answer", 0.01), attempt("answer", None)])
    assert (costs.total, costs.per_decision, costs.unknown) == (None, None, {"answer": 1})
    unaudited = tally([decision("teacher"), decision("student"), attempt("answer", 0.01)])
    assert unaudited.per_decision == pytest.approx(0.005)
    assert unaudited.per_correct_decision is None


class Sampled:
    """An exchange that the audit always draws."""

    def __init__(self, fakes: Any, model: str = "teacher-1") -> None:
        self.request = parse_chat_request(json.dumps(fakes.chat(model=model)).encode())

    audited = True

    def audit(self, calls: Any) -> str:
        return "unlabelled" if calls is None else "labelled"


class Notes:
    def __init__(self) -> None:
        self.written: list[Any] = []

    def later(self, *events: Any) -> None:
        self.written += events


@pytest.mark.parametrize(
    "limits",
    [AuditLimits(backlog=0), AuditLimits(bytes=10), AuditLimits(dollars_a_day=0.0), AuditLimits(dollars_a_day=5.0)],
    ids=["queue", "bytes", "no money", "no price"],
)
def test_an_audit_beyond_its_limits_is_written_without_a_label_and_asks_nobody(fakes: Any, limits: AuditLimits) -> None:
    notes = Notes()

    async def consider() -> None:
        auditor = Auditor(Upstream("http://127.0.0.1:9/v1"), notes, limits=limits)  # type: ignore[arg-type]
        auditor.consider(Sampled(fakes), {})  # type: ignore[arg-type]
        assert auditor.unlabelled == 1
        await auditor.aclose()

    asyncio.run(consider())
    assert notes.written == ["unlabelled"]


def test_the_days_money_comes_back_the_next_day() -> None:
    now = 0.0
    budget = _DailyBudget(1.0, Prices({"m": Price(input=1.0, output=1.0)}), lambda: now)
    assert budget.allows("m")
    budget.spend(0.6)
    budget.spend(None)
    assert budget.allows("m")
    budget.spend(0.6)
    assert not budget.allows("m")
    now = 86_400.0
    assert budget.allows("m")
    assert not budget.allows("unpriced")
