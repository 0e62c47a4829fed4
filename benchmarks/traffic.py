"""What a gateway writes into its log, made up: decisions, outcomes, attempts, audits, and the lives of two models.

Everything is drawn from a seed. What this file does not know: stores.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AlertRaisedEvent,
    AlertResolvedEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    DatasetManifestEvent,
    DecisionOutcomeEvent,
    DriftDetectedEvent,
    Event,
    ModelDeployedEvent,
    ModelTrainedEvent,
    UpstreamAttemptedEvent,
)

__all__ = ["lifecycle", "traffic"]

TOOLS = {"get_balance": 0.3, "list_transactions": 0.25, "transfer": 0.2, "block_card": 0.15, "find_branch": 0.1}
REASONS = ("low_confidence", "text_reply", "low_confidence", "invalid_arguments", "unknown_tool")
STUDENT = "compact-7d1f0c53e2a94b60"
AUDIT_RATE = 0.05
PRICE = 0.004


def traffic(
    n: int, start: datetime, length: timedelta, *, seed: int = 0, coverage: float = 0.6, agreement: float = 0.96,
    tenant: str = "default", audit_rate: float = AUDIT_RATE,
) -> Iterator[list[Event]]:  # fmt: skip
    """The events of so many decisions of a gateway, those of one decision at a time.

    Args:
        n: Decisions.
        start: Of the first.
        length: Between the first and the last.
        seed: Of everything that is drawn.
        coverage: Share that the student answers.
        agreement: Of the student with the teacher.
        tenant: Whose.
        audit_rate: Share of the student's calls that the teacher is asked about.
    """
    draw = random.Random(seed)
    for i in range(n):
        at = start + length * (i / max(n, 1))
        tool = draw.choices(list(TOOLS), list(TOOLS.values()))[0]
        identity = f"{draw.getrandbits(128):032x}"
        common = {"tenant_id": tenant, "timestamp": at}
        if draw.random() < coverage:
            yield _by_student(draw, identity, tool, agreement, audit_rate, common)
        else:
            yield _by_teacher(draw, identity, tool, common)


def _by_student(
    draw: random.Random, identity: str, tool: str, agreement: float, audit_rate: float, common: dict[str, Any]
) -> list[Event]:
    agrees = draw.random() < agreement
    events = [
        _decision(draw, identity, tool, "student", None, common, label_probability=audit_rate),
        _outcome(identity, draw.lognormvariate(2.2, 0.5), common),
    ]
    if draw.random() < audit_rate:
        audit = AuditRecordedEvent.record(
            decision_id=identity,
            model_id=STUDENT,
            action=tool,
            agrees=agrees,
            sampling_probability=audit_rate,
            **common,
        )
        events += [_attempt(identity, "audit", draw, common), audit]
    return events


def _by_teacher(draw: random.Random, identity: str, tool: str, common: dict[str, Any]) -> list[Event]:
    reason = draw.choice(REASONS)
    tool = "(reply)" if reason == "text_reply" else tool
    decision = _decision(draw, identity, tool, "teacher", reason, common)
    return [
        decision, _attempt(identity, "answer", draw, common), _outcome(identity, draw.lognormvariate(6.4, 0.4), common),
    ]  # fmt: skip


def _decision(
    draw: random.Random, identity: str, tool: str, source: str, reason: str | None, common: dict[str, Any], **more: Any
) -> Event:
    arguments = {"account": draw.randrange(10**6)}
    return AgentDecisionEvent.record(
        event_id=identity,
        agent_id=draw.choice(("support", "cards")),
        context={
            "messages": [{"role": "user", "content": f"{tool.replace('_', ' ')} of {arguments['account']}, please"}]
        },
        tool_selected=tool,
        tool_parameters=arguments,
        tool_calls=[{"name": tool, "arguments": arguments}],
        teacher_model="gpt-4.1",
        source=source,
        serving={
            "receipt": identity,
            "model_id": STUDENT,
            "reason": reason,
            "confidence": round(draw.uniform(0.7, 1), 3),
        },
        **common,
        **more,
    )


def _attempt(identity: str, role: str, draw: random.Random, common: dict[str, Any]) -> Event:
    return UpstreamAttemptedEvent.record(
        decision_id=identity, role=role, model="gpt-4.1", status="ok", duration_ms=draw.lognormvariate(6.4, 0.4),
        cost_usd=PRICE, **common,
    )  # fmt: skip


def _outcome(identity: str, milliseconds: float, common: dict[str, Any]) -> Event:
    return DecisionOutcomeEvent.record(decision_id=identity, success=True, execution_time_ms=milliseconds, **common)


def lifecycle(at: datetime, *, tenant: str = "default", rows: list[str] | None = None) -> list[Event]:
    """How a student came to answer, after one that lost its certificate.

    Args:
        at: When it was deployed.
        tenant: Whose.
        rows: The decisions that it learned from.
    """
    then = {"tenant_id": tenant, "timestamp": at - timedelta(hours=9)}
    now = {"tenant_id": tenant, "timestamp": at}
    ids = rows or []
    manifest = {"event_ids": ids, "parts": ["train"] * len(ids), "weights": [1.0] * len(ids)}
    return [
        *_born("compact-0ld", 0.93, 0.41, **then),
        DriftDetectedEvent.record(
            model_id="compact-0ld", detector="actions_psi", drift_score=0.23, threshold=0.1, reference_count=2000,
            recent_count=500, **then,
        ),
        AlertRaisedEvent.record(
            alert_id="a1", name="agreement_below_floor", severity="critical", message="agreement fell below its floor",
            model_id="compact-0ld", value=0.86, limit=0.93, **then,
        ),
        CertificateRevokedEvent.record(
            model_id="compact-0ld", reason="live agreement is below the floor", upper_bound=0.91, floor=0.93, **then
        ),
        DatasetManifestEvent.record(dataset_id="d-2026", chunk=0, chunks=1, **manifest, **then),
        AlertResolvedEvent.record(alert_id="a1", reason="another model answers", **now),
        *_born(STUDENT, 0.93, 0.62, **now),
    ]  # fmt: skip


def _born(model_id: str, target: float, coverage: float, **common: Any) -> list[Event]:
    certificate = {
        "certified": True, "reason": f"at least {target:.0%} of the sent calls agree", "target": target, "delta": 0.05,
        "coverage": coverage, "units": 812, "decisions": 2400, "sent": 1488, "agreeing": 1451, "model_id": model_id,
    }  # fmt: skip
    return [
        ModelTrainedEvent.record(
            model_id=model_id, model_name="compact", dataset_id="d-2026", decisions=9120, episodes=1800,
            training_seconds=41.0, seed=0, **common,
        ),
        CertificateDecidedEvent.record(model_id=model_id, certified=True, certificate=certificate, **common),
        ModelDeployedEvent.record(
            model_id=model_id, model_name="compact", model_size=2_400_000, accuracy_vs_teacher=0.96, latency_ms=6.0,
            cost_per_request_usd=0.0, training_duration_hours=0.01, **common,
        ),
    ]  # fmt: skip
