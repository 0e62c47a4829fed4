"""The trainer: fit a student, certify it on tasks it never saw, and deploy it or say why not.

The calibration rows are those that the curator held back; where none are marked, whole tasks are
held back here. What was published is loaded again before it is judged, so that the certificate
speaks about the very files that will answer. What this file does not know: how a student is fitted
(`train.fit`), how it is measured and certified (`train.evaluate`, `train.certificates`), and who serves it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agents.base import Agent
from ultracore.distillation.agents.curator import CALIBRATION, CALIBRATION_SHARE, CALIBRATION_TASKS
from ultracore.distillation.agents.rows import teacher_decisions
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import Event, ModelDeployedEvent, ModelRejectedEvent, ModelStagedEvent
from ultracore.distillation.policy import Policy
from ultracore.distillation.splits import parts_by_task, units_of
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.dataset import TRAIN, Dataset, unrecorded
from ultracore.distillation.train.evaluate import (
    Judged,
    columns,
    judge,
    latency,
    measure_test,
    propose_saved,
    time_proposals,
)
from ultracore.distillation.train.facts import (
    Trained,
    deployment_figures,
    model_facts,
    validation_hash,
)
from ultracore.distillation.train.fit import FitResult, fit_compact, hyper_parameters
from ultracore.distillation.train.levels import at_level, level_of

__all__ = ["ModelTrainerAgent", "TrainingData", "TrainingPlan"]

_STATUS: dict[type[Event], str] = {
    ModelDeployedEvent: "deployed", ModelStagedEvent: "staged", ModelRejectedEvent: "rejected"
}  # fmt: skip
ANNOTATIONS_ONLY = Policy(infer=False)
LEAST_DECISIONS = 100
LEAST_UNITS = 4


class TrainingData(NamedTuple):
    """What came in: the teacher's decisions, and the event that caused this training, if one did."""

    decisions: list[Decision]
    causation_id: str | None


class TrainingPlan(NamedTuple):
    """What to do: wait (`reason` says for what), or fit on some decisions and certify on others.

    `parts` names the part of each decision of `data`.
    """

    data: TrainingData
    parts: list[str]
    training: list[Decision]
    calibration: list[Decision]
    level: Level
    reason: str = ""


class _Run(NamedTuple):
    """A trained and published student, its certificate, its figures, and the facts for the log."""

    certificate: Certificate
    metrics: dict[str, Any]
    facts: list[Event]


class ModelTrainerAgent(Agent[TrainingData, TrainingPlan]):
    """Trains, certifies and deploys: `await execute({"training_data": rows_or_curator_result})`.

    The result is `"waiting"` under 100 source decisions (the sum of the rows' `weight`) or where
    they are too few independent sessions, else `"deployed"`, `"staged"` (see `rules`) or `"rejected"`, with:

    * `model`: `{"model_id", "metrics", "status"}`. `accuracy_vs_teacher` is the agreement of the
      calibration calls that the certificate lets out, `None` where it lets out none; `latency_ms`
      the measured median of one proposal; `training_duration_hours` wall clock;
      `cost_per_request_usd` that latency times `machine_usd_per_hour`. Nobody bills a local
      proposal, so by default the cost is 0.0; the calls that still go to the teacher cost what
      they cost before and are not part of it.
    * `coverage`, `level` (`whole_call` or `tool`), `certificate`, and `reason`, a sentence.

    Args:
        agent_id: Its name.
        target: Wanted agreement among sent calls (0..1).
        delta: Risk that a certificate is wrong; that of the settings by default.
        seed: Of the split, the fit and the test; that of the settings by default.
        machine_usd_per_hour: Price of the machine that will answer.
        policy: What the user says about their tools; by default, only annotations make a tool destructive.
        rules: Of promotion: a certified model then goes to the shadow beside the one that answers; by default it
            answers at once.
        **base: See `Agent`.

    Attributes:
        current_model: `model` of the last deployment by this agent, `None` before.

    Raises:
        ConfigurationError: `target` or the price is out of range.
    """

    name = "model_trainer"
    capabilities = ("fit", "certify", "deploy")

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        target: float = 0.90,
        delta: float | None = None,
        seed: int | None = None,
        machine_usd_per_hour: float = 0.0,
        policy: Policy = ANNOTATIONS_ONLY,
        rules: Mapping[str, Any] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(agent_id, **base)
        if not 0.0 < target < 1.0:
            raise ConfigurationError(f"target must lie strictly between 0 and 1, not {target}")
        if machine_usd_per_hour < 0.0:
            raise ConfigurationError(f"machine_usd_per_hour cannot be negative, as {machine_usd_per_hour} is")
        self.target = target
        self.machine_usd_per_hour = machine_usd_per_hour
        self.policy = policy
        self.rules = rules
        self.current_model: dict[str, Any] | None = None
        self._delta = delta
        self._seed = seed

    @property
    def delta(self) -> float:
        """Risk that a certificate is wrong."""
        return self.settings.delta if self._delta is None else self._delta

    @property
    def seed(self) -> int:
        """Seed of everything random here."""
        return self.settings.seed if self._seed is None else self._seed

    @property
    def registry(self) -> ModelRegistry:
        """The models of the home folder."""
        return ModelRegistry(self.settings.home_path, self.store)

    async def perceive(self, context: Mapping[str, Any]) -> TrainingData:
        """Read the rows.

        Raises:
            ConfigurationError: `training_data` is neither a list nor a curator's result.
            DataError: A row cannot be read, or the rows are of several teachers or tenants.
        """
        given = context.get("training_data")
        caused_by = given.get("event_id") if isinstance(given, Mapping) else None
        rows = given.get("curated_data") if isinstance(given, Mapping) else given
        needs = "the trainer needs {'training_data': [...]}: rows, or the curator's whole result"
        return TrainingData(teacher_decisions(rows, needs), caused_by)

    async def decide(self, observation: TrainingData) -> TrainingPlan:
        """Wait, or hold back the calibration tasks."""
        decisions = observation.decisions
        source = round(sum(d.weight for d in decisions))
        level = level_of(decisions)
        waiting = TrainingPlan(observation, [], [], [], level)
        if source < LEAST_DECISIONS:
            return waiting._replace(reason=f"{source} source decisions; training starts at {LEAST_DECISIONS}")
        units = len(set(units_of(decisions)))
        if units < LEAST_UNITS:
            reason = f"the decisions belong to {units} independent session(s); at least {LEAST_UNITS} are needed"
            return waiting._replace(reason=reason)
        parts, rows = _parts(decisions, self.seed), at_level(decisions, level)
        training = [d for d, part in zip(rows, parts, strict=True) if part == TRAIN]
        calibration = [d for d, part in zip(rows, parts, strict=True) if part == CALIBRATION]
        return TrainingPlan(observation, parts, training, calibration, level)

    async def act(self, plan: TrainingPlan) -> dict[str, Any]:
        """Fit, certify, publish, and record what happened, all events or none."""
        if plan.reason:
            return {"status": "waiting", "reason": plan.reason, "level": plan.level}
        run = await asyncio.to_thread(self._train, plan)
        events = await self.record_all(run.facts)
        status = _STATUS[type(events[-1])]
        model = {"model_id": run.certificate.model_id, "metrics": run.metrics, "status": status}
        if status == "deployed":
            self.current_model = model
        return {
            "status": status,
            "model": model,
            "coverage": run.certificate.coverage,
            "level": plan.level,
            "certificate": msgspec.to_builtins(run.certificate),
            "reason": run.certificate.reason,
            "event_id": events[-1].metadata.event_id,
        }

    def _train(self, plan: TrainingPlan) -> _Run:
        """The heavy part; runs in a thread."""
        fit = fit_compact(plan.training, seed=self.seed)
        model_id = self.registry.publish(fit.student)
        folder = self.registry.folder_of(model_id)
        comparators = self.policy.comparators(fit.comparators)
        judged = judge(plan.calibration, propose_saved(folder, plan.calibration), comparators)
        certificate = self._certify(plan, fit, judged, model_id)
        self.registry.save_certificate(certificate)
        took = latency(time_proposals(self.registry.load(model_id), plan.calibration))
        dataset = Dataset.of(zip(plan.parts, plan.data.decisions, strict=True))
        chosen = {
            "target": self.target,
            "delta": self.delta,
            "policy": msgspec.to_builtins(self.policy),
            **hyper_parameters(),
        }
        trained = Trained.of(
            model_id, folder, dataset.dataset_id, plan.training, fit.seconds, self.seed, chosen,
            validation_hash(judged, certificate),
        )  # fmt: skip
        stamp: dict[str, Any] = {
            "tenant_id": plan.training[0].tenant, "correlation_id": uuid.uuid4().hex, "clock": self.clock
        }  # fmt: skip
        figures = deployment_figures(trained, certificate, took["p50"], self.machine_usd_per_hour)
        test = {"data_id": certificate.data_id, **measure_test(judged, seed=self.seed)}
        facts = model_facts(
            trained, certificate, figures, test, plan.calibration, causation_id=plan.data.causation_id,
            replaces=self.registry.active_id(stamp["tenant_id"]), rules=self.rules, **stamp
        )  # fmt: skip
        more = {
            "latency_p99_ms": took["p99"],
            "whole_agreement": test["whole_call"],
            "calibration_decisions": test["n_whole_call"],
        }
        return _Run(certificate, figures | more, [*unrecorded(dataset, self.store, **stamp), *facts])

    def _certify(self, plan: TrainingPlan, fit: FitResult, judged: Sequence[Judged], model_id: str) -> Certificate:
        decisions = plan.data.decisions
        development = judge(*columns(fit.development), self.policy.comparators(fit.comparators))
        return certify_levels(
            development, judged, [self.target],
            level=plan.level, delta=self.delta, model_id=model_id,
            teacher=next((d.teacher for d in decisions if d.teacher), ""), offered=decisions, policy=self.policy,
            seed=self.seed,
        )[self.target]  # fmt: skip


def _parts(decisions: Sequence[Decision], seed: int) -> list[str]:
    """The part of each decision: as marked, or else by task, in the curator's shares."""
    held = [d.split == CALIBRATION for d in decisions]
    if not any(held):
        units = len(set(units_of(decisions)))
        share = max(CALIBRATION_SHARE, min(CALIBRATION_TASKS, units // 2) / units)
        held = [part == 1 for part in parts_by_task(decisions, (1 - share, share), seed)]
    return [CALIBRATION if out else TRAIN for out in held]
