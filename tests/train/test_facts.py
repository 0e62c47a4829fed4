"""Which calls a certificate speaks about, and what a training run writes down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State, prompt_fingerprint
from ultracore.distillation.events import ModelDeployedEvent, ModelEvaluatedEvent, ModelRejectedEvent
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.students.mix import Mix, mix_of
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.evaluate import judge
from ultracore.distillation.train.facts import Trained, deployment_figures, model_facts, validation_hash
from ultracore.distillation.train.levels import at_level
from ultracore.distillation.watch.drift import drift_between, worst

F, G, PING = (
    Tool("f", parameters={"type": "object", "properties": {"x": {"type": "string"}}}),
    Tool("g", "only ever offered in training"),
    Tool("ping", parameters={"type": "object", "properties": {}}),
)


def decisions(n: int, *tools: Tool, first: int = 0, prompt: str = "Be kind.") -> list[Decision]:
    system = {"role": "system", "content": prompt}
    return [
        Decision(
            state=State([system, {"role": "user", "content": f"order {i}"}], list(tools)),
            calls=(ToolCall("f", {"x": str(i)}),),
            episode=str(i),
            task=str(i),
        )
        for i in range(first, first + n)
    ]


def certificate(level: Level) -> Certificate:
    """Of a student that is always right."""
    training, held = decisions(100, F, G, PING), decisions(100, F, PING, first=100, prompt="Be brief.")
    judged = [
        judge(part, [Proposal(decision.calls, 0.9) for decision in part], Comparators())
        for part in (at_level(training, level), at_level(held, level))
    ]
    return certify_levels(
        *judged, [0.9], level=level, delta=0.05, model_id="m", teacher="t", offered=training + held
    )[0.9]  # fmt: skip


@pytest.mark.parametrize("level", ["whole_call", "tool"])
def test_a_certificate_knows_every_tool_and_prompt_as_it_was_offered(level: Level) -> None:
    found = certificate(level)
    assert found.certified
    assert found.tools == {tool.name: tool.fingerprint for tool in (F, G, PING)}
    prompts = [prompt_fingerprint([{"role": "system", "content": text}]) for text in ("Be kind.", "Be brief.")]
    assert found.prompts == sorted(prompts)


def test_at_level_tool_a_decision_is_a_bare_choice() -> None:
    (bare,) = at_level(decisions(1, F, PING), "tool")
    assert bare.calls == (ToolCall("f", {}),)
    assert bare.state.tools == [Tool("f"), PING]
    assert at_level(decisions(1, F), "whole_call") == decisions(1, F)


TRAINED = Trained("m", 5000, "d", 100, 100, 7.2, 0, {"folds": 4}, {"config.json": "ab"}, {"machine": "x"}, "done")
TEST = {"data_id": "held", "n": 100, "whole_call": 1.0, "interval": {"whole_call": [1.0, 1.0]}}


def facts(found: Certificate, price: float = 0.0) -> list[Any]:
    figures = deployment_figures(TRAINED, found, 3.6, price)
    held = decisions(100, F, first=100)
    return model_facts(TRAINED, found, figures, TEST, held, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("price", "usd"), [(0.0, 0.0), (2.0, 2e-6)])
def test_a_proposal_costs_its_share_of_the_machine(price: float, usd: float) -> None:
    _, evaluated, _, deployed = facts(certificate("whole_call"), price)
    assert isinstance(deployed, ModelDeployedEvent)
    assert deployed.cost_per_request_usd == evaluated.metrics["cost_per_request_usd"] == pytest.approx(usd)
    assert (deployed.accuracy_vs_teacher, deployed.latency_ms) == (1.0, 3.6)
    assert deployed.training_duration_hours == pytest.approx(0.002)


def test_a_model_says_what_a_replay_needs() -> None:
    learned, evaluated, *_ = facts(certificate("whole_call"))
    assert (learned.hyper_parameters, learned.files, learned.environment) == TRAINED[7:10]
    assert evaluated.validation_hash == "done"


def test_identical_decisions_are_named_alike_whatever_the_last_bits_of_confidences() -> None:
    issued = certificate("whole_call")
    (row,) = judge(decisions(1, F), [Proposal((ToolCall("f", {"x": "0"}),), 0.9)], Comparators())
    issued = msgspec.structs.replace(issued, thresholds={"f": 0.5})

    def named(calls: tuple[ToolCall, ...], confidence: float) -> str:
        return validation_hash([row._replace(proposal=Proposal(calls, confidence))], issued)

    same = named(row.proposal.calls, 0.9)
    assert named(row.proposal.calls, 0.9000001) == same
    assert named(row.proposal.calls, 0.4) != same, "it is not sent any more"
    assert named((ToolCall("f", {"x": "1"}),), 0.9) != same


def test_a_deployment_names_the_model_that_answered_before() -> None:
    def replaced(before: str | None) -> Any:
        found = certificate("whole_call")
        figures = deployment_figures(TRAINED, found, 3.6, 0.0)
        return model_facts(TRAINED, found, figures, TEST, decisions(9, F), replaces=before)[-1].replaces  # type: ignore[attr-defined]

    assert (replaced("old"), replaced(None), replaced("m")) == ("old", None, None)


def test_a_refused_student_is_rejected_with_its_figures() -> None:
    rejected = facts(Certificate(certified=False, reason="too few"))[-1]
    assert isinstance(rejected, ModelRejectedEvent)
    assert rejected.reason == "too few"
    assert rejected.metrics["accuracy_vs_teacher"] is None
    assert rejected.metrics["whole_call"] == 1.0


def test_drift_can_be_measured_against_what_the_log_holds() -> None:
    evaluated = facts(certificate("whole_call"))[1]
    assert isinstance(evaluated, ModelEvaluatedEvent)
    reference = msgspec.convert(evaluated.metrics["reference_mix"], Mix)
    found = worst(drift_between(reference, mix_of(decisions(50, F))))
    assert found is not None
    assert not found.alarmed
