"""The evaluation: does the deployed student still agree with the teacher, on traffic like before?

Agreement is that of the calls the student would send; drift compares the mix of actions and words
with the decisions the certificate was reached on. A retraining is asked for at once when either
crosses its threshold: one too many costs a minute of CPU. What this file does not know: live
audits and revocation, which need sampling and sharper bounds (`watch`).
"""

from __future__ import annotations

import asyncio
import statistics
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agents.base import Agent
from ultracore.distillation.agents.rows import of_teacher, teacher_decisions
from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import (
    DriftDetectedEvent,
    Event,
    ModelEvaluatedEvent,
    RetrainTriggeredEvent,
)
from ultracore.distillation.students.mix import Mix, mix_of
from ultracore.distillation.students.registry import Deployed, ModelRegistry
from ultracore.distillation.train.certificates import data_id_of
from ultracore.distillation.train.evaluate import gate_rows, judge, latency, time_proposals
from ultracore.distillation.train.levels import at_level
from ultracore.distillation.train.thresholds import Outcome, coverage_and_agreement
from ultracore.distillation.watch.drift import Drift, drift_between, worst

__all__ = ["EvaluationAgent", "EvaluationPlan", "RecentDecisions"]

RISK = 0.01
"""Chance that one evaluation of traffic like before asks for a retraining, all detectors together."""

NEEDS = "the evaluation needs {'recent_decisions': [...]}"


class RecentDecisions(NamedTuple):
    """What came in: the teacher's decisions, the outcomes that are known, and whose they are."""

    decisions: list[Decision]
    outcomes: list[Mapping[str, Any]]
    tenant: str


class EvaluationPlan(NamedTuple):
    """What to measure, and the model to measure (`None`: outcomes only)."""

    recent: RecentDecisions
    deployed: Deployed | None
    reference: Mix | None


class _Findings(NamedTuple):
    """What was measured."""

    accuracy: float | None
    latency_ms: float | None
    drift: Drift | None = None
    sent: Outcome | None = None
    whole_agreement: float | None = None


class EvaluationAgent(Agent[RecentDecisions, EvaluationPlan]):
    """Evaluates: `await execute({"recent_decisions": rows})`.

    The result is `{"status": "ok" | "retrain_triggered", "metrics": {...}, "reasons": [...]}`;
    without decisions `"ok"` with empty metrics. A metric that cannot be measured is `None`.

    * `accuracy`: with a deployed model, agreement with the teacher of the calls it would send, and
      beside it `whole_agreement`, `coverage` and `n`, the number of sent calls. Without one, the
      share of successful outcomes. `accuracy_of` says which of the two it is.
    * `latency_ms`: median of one proposal; without a model, of the outcomes' `execution_time_ms`.
    * `drift_score`: the worst of `watch.drift.drift_between`, and `drift_detector` which it was; `None` without
      a deployed model. It alarms above `drift_threshold` only if a permutation test rules out chance.

    Args:
        agent_id: Its name.
        floor: Accuracy below which a retraining is asked for (0..1).
        drift_threshold: Drift score above which one is asked for (0..1).
        seed: Of the permutations; that of the settings by default.
        **base: See `Agent`.

    Raises:
        ConfigurationError: A threshold is out of range.
    """

    name = "evaluation"
    capabilities = ("measure_agreement", "detect_drift", "trigger_retraining")

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        floor: float = 0.90,
        drift_threshold: float = 0.1,
        seed: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(agent_id, **base)
        for name, value in (("floor", floor), ("drift_threshold", drift_threshold)):
            if not 0.0 <= value <= 1.0:
                raise ConfigurationError(f"{name} must lie between 0 and 1, not {value}")
        self.floor = floor
        self.drift_threshold = drift_threshold
        self._seed = seed

    async def perceive(self, context: Mapping[str, Any]) -> RecentDecisions:
        """Read the rows.

        Raises:
            ConfigurationError: `recent_decisions` is there but is not a list.
            DataError: A row cannot be read, or the rows are of several teachers or tenants.
        """
        rows = context.get("recent_decisions")
        rows = of_teacher([] if rows is None else rows, NEEDS)
        decisions = teacher_decisions(rows, NEEDS)
        found = [row.get("outcome") for row in rows if isinstance(row, Mapping)]
        outcomes = [outcome for outcome in found if isinstance(outcome, Mapping)]
        return RecentDecisions(decisions, outcomes, decisions[0].tenant if decisions else self.settings.tenant)

    async def decide(self, observation: RecentDecisions) -> EvaluationPlan:
        """Look up the deployed model and the mix of decisions it was certified on."""
        if not observation.decisions:
            return EvaluationPlan(observation, None, None)
        return await asyncio.to_thread(self._look_up, observation)

    async def act(self, plan: EvaluationPlan) -> dict[str, Any]:
        """Measure, compare with the thresholds, and record what was found, all events or none."""
        if not plan.recent.decisions:
            return {"status": "ok", "metrics": {}, "reasons": []}
        findings = await asyncio.to_thread(self._measure, plan)
        reasons = self._reasons(findings)
        metrics = _metrics(findings)
        await self.record_all(self._events(plan, findings, metrics, reasons))
        status = "retrain_triggered" if reasons else "ok"
        model_id = plan.deployed.model_id if plan.deployed else None
        return {"status": status, "metrics": metrics, "reasons": reasons, "model_id": model_id}

    def _look_up(self, recent: RecentDecisions) -> EvaluationPlan:
        deployed = ModelRegistry(self.settings.home_path, self.store).active(recent.tenant)
        if deployed is None:
            return EvaluationPlan(recent, None, None)
        reference = None
        types = [ModelEvaluatedEvent.event_type]
        for event in self.store.read(types=types, aggregate=deployed.model_id, tenant=recent.tenant):
            if isinstance(event, ModelEvaluatedEvent) and "reference_mix" in event.metrics:
                reference = msgspec.convert(event.metrics["reference_mix"], Mix)
        return EvaluationPlan(recent, deployed, reference)

    def _measure(self, plan: EvaluationPlan) -> _Findings:
        recent, deployed = plan.recent, plan.deployed
        if deployed is None:
            return _from_outcomes(recent.outcomes)
        level, student = deployed.certificate.level, deployed.student
        decisions = at_level(recent.decisions, level)
        proposals = student.propose_batch([decision.state for decision in decisions])
        declared = Comparators(declared=deployed.certificate.comparators)
        rows = gate_rows(judge(decisions, proposals, declared), deployed.certificate)
        sent = coverage_and_agreement(rows, deployed.certificate.thresholds)
        took = latency(time_proposals(student, decisions))
        seed = self.settings.seed if self._seed is None else self._seed
        drift = self._drift(plan.reference, mix_of(recent.decisions), seed) if plan.reference else None
        whole = float(rows.agrees.mean()) if len(rows) else None
        return _Findings(sent.agreement, took["p50"], drift, sent, whole)

    def _reasons(self, findings: _Findings) -> list[str]:
        reasons = []
        if findings.accuracy is not None and findings.accuracy < self.floor:
            reasons.append("accuracy_drop")
        if findings.drift is not None and findings.drift.alarmed:
            reasons.append("drift_detected")
        return reasons

    def _drift(self, reference: Mix, recent: Mix, seed: int) -> Drift | None:
        return worst(drift_between(reference, recent, seed=seed, threshold=self.drift_threshold, risk=RISK / 4))

    def _events(
        self, plan: EvaluationPlan, findings: _Findings, metrics: Mapping[str, Any], reasons: Sequence[str]
    ) -> list[Event]:
        model_id = plan.deployed.model_id if plan.deployed else ""
        decisions = plan.recent.decisions
        common: dict[str, Any] = {
            "tenant_id": plan.recent.tenant,
            "clock": self.clock,
            "correlation_id": uuid.uuid4().hex,
        }
        evaluated = ModelEvaluatedEvent.record(
            model_id=model_id,
            data_id=data_id_of(decisions),
            decisions=len(decisions),
            metrics=dict(metrics),
            **common,
        )
        common["causation_id"] = evaluated.metadata.event_id
        events: list[Event] = [evaluated]
        if findings.drift is not None and findings.drift.alarmed:
            events.append(
                DriftDetectedEvent.record(
                    model_id=model_id,
                    detector=findings.drift.detector,
                    drift_score=findings.drift.score,
                    threshold=findings.drift.threshold,
                    p_value=findings.drift.p_value,
                    reference_count=findings.drift.reference_count,
                    recent_count=findings.drift.recent_count,
                    **common,
                )
            )
        if reasons:
            events.append(
                RetrainTriggeredEvent.record(
                    model_id=model_id,
                    reason=reasons[0],
                    current_accuracy=findings.accuracy,
                    threshold_accuracy=self.floor,
                    drift_score=findings.drift.score if findings.drift else None,
                    **common,
                )
            )
        return events


def _from_outcomes(outcomes: Sequence[Mapping[str, Any]]) -> _Findings:
    judged = [bool(o["success"]) for o in outcomes if o.get("success") is not None]
    took = [float(o["execution_time_ms"]) for o in outcomes if o.get("execution_time_ms") is not None]
    return _Findings(
        accuracy=sum(judged) / len(judged) if judged else None,
        latency_ms=statistics.median(took) if took else None,
    )


def _metrics(findings: _Findings) -> dict[str, Any]:
    drift, sent = findings.drift, findings.sent
    metrics: dict[str, Any] = {
        "accuracy": findings.accuracy,
        "accuracy_of": "sent_calls" if sent else "outcomes",
        "latency_ms": findings.latency_ms,
        "drift_score": drift.score if drift else None,
    }
    if drift:
        metrics |= {"drift_detector": drift.detector, "drift_p_value": drift.p_value}
    if sent:
        metrics |= {"whole_agreement": findings.whole_agreement, "coverage": sent.coverage, "n": sent.sent}
    return metrics
