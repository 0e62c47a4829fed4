"""The trainer: fit a student, certify it on tasks it never saw, and deploy it or say why not.

The calibration rows are those that the curator held back; where none are marked, whole tasks are
held back here. What was published is loaded again before it is judged, so that the certificate
speaks about the very files that will answer. What this file does not know: how a student is fitted
(`train.fit`), how a certificate is reached (`train.certify`), and who serves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agents.base import Agent
from ultracore.distillation.agents.curator import CALIBRATION, CALIBRATION_SHARE, CALIBRATION_TASKS
from ultracore.distillation.agents.scores import (
    Answer,
    Timing,
    answers_of,
    at_level,
    level_of,
    score,
    teacher_decisions,
    time_proposals,
)
from ultracore.distillation.agents.training_run import TrainingRun, data_id_of, facts_of
from ultracore.distillation.decisions import Decision, prompt_fingerprint
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.splits import parts_by_task, units_of
from ultracore.distillation.students.base import Student
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.certify import GateRows, certify
from ultracore.distillation.train.fit import FitResult, fit_compact

__all__ = ["ModelTrainerAgent", "TrainingData", "TrainingPlan"]

LEAST_DECISIONS = 100
LEAST_UNITS = 4
MS_PER_HOUR = 3.6e6


class TrainingData(NamedTuple):
    """What came in: the teacher's decisions, and the event that caused this training, if one did."""

    decisions: list[Decision]
    causation_id: str | None


class TrainingPlan(NamedTuple):
    """What to do: wait (`reason` says for what), or fit on some decisions and certify on others."""

    data: TrainingData
    training: list[Decision]
    calibration: list[Decision]
    level: Level
    reason: str = ""


class ModelTrainerAgent(Agent[TrainingData, TrainingPlan]):
    """Trains, certifies and deploys: `await execute({"training_data": rows_or_curator_result})`.

    The result is `"waiting"` under 100 source decisions (the sum of the rows' `weight`) or where
    they are too few independent sessions, else `"deployed"` or `"rejected"`, with:

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
        **base: Any,
    ) -> None:
        super().__init__(agent_id, **base)
        if not 0.0 < target < 1.0:
            raise ConfigurationError(f"target must lie strictly between 0 and 1, not {target}")
        if machine_usd_per_hour < 0.0:
            raise ConfigurationError(f"machine_usd_per_hour cannot be negative, as {machine_usd_per_hour} is")
        self.target = target
        self.machine_usd_per_hour = machine_usd_per_hour
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
        waiting = TrainingPlan(observation, [], [], level)
        if source < LEAST_DECISIONS:
            return waiting._replace(reason=f"{source} source decisions; training starts at {LEAST_DECISIONS}")
        units = len(set(units_of(decisions)))
        if units < LEAST_UNITS:
            reason = f"the decisions belong to {units} independent session(s); at least {LEAST_UNITS} are needed"
            return waiting._replace(reason=reason)
        training, calibration = _hold_back(at_level(decisions, level), self.seed)
        return TrainingPlan(observation, training, calibration, level)

    async def act(self, plan: TrainingPlan) -> dict[str, Any]:
        """Fit, certify, publish, and record what happened, all events or none."""
        if plan.reason:
            return {"status": "waiting", "reason": plan.reason, "level": plan.level}
        run = await asyncio.to_thread(self._train, plan)
        events = await self.record_all(facts_of(run, clock=self.clock))
        status = "deployed" if run.deployed else "rejected"
        model = {"model_id": run.certificate.model_id, "metrics": run.metrics, "status": status}
        if run.deployed:
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

    def _train(self, plan: TrainingPlan) -> TrainingRun:
        """The heavy part; runs in a thread."""
        fit = fit_compact(plan.training, seed=self.seed)
        model_id = self.registry.publish(fit.student)
        student = self.registry.load(model_id)
        answers = answers_of(student, plan.calibration)
        certificate = self._certify(plan, fit, answers, model_id)
        self.registry.save_certificate(certificate)
        timing = _timed(student, plan.calibration)
        return TrainingRun(
            training=plan.training,
            calibration=plan.calibration,
            certificate=certificate,
            scores=score(answers, certificate),
            timing=timing,
            usd_per_request=self.machine_usd_per_hour * timing.median_ms / MS_PER_HOUR,
            model_size=_size(self.registry.folder_of(model_id)),
            seconds=fit.seconds,
            seed=self.seed,
            causation_id=plan.data.causation_id,
        )

    def _certify(self, plan: TrainingPlan, fit: FitResult, answers: Sequence[Answer], model_id: str) -> Certificate:
        decisions = plan.data.decisions  # as offered, not as bare choices
        development = [Answer(held.decision, held.proposal) for held in fit.development]
        return certify(
            _gate_rows(development),
            _gate_rows(answers),
            target=self.target,
            delta=self.delta,
            level=plan.level,
            seed=self.seed,
            data_id=data_id_of(plan.calibration),
            model_id=model_id,
            teacher=next((d.teacher for d in decisions if d.teacher), ""),
            # Bare choices were judged, not calls of the tools as they are offered: a gateway may send none.
            tools={} if plan.level == "tool" else {t.name: t.fingerprint for d in decisions for t in d.state.tools},
            prompts=sorted({prompt_fingerprint(d.state.messages) for d in decisions}),
        )


def _hold_back(decisions: Sequence[Decision], seed: int) -> tuple[list[Decision], list[Decision]]:
    """Training and calibration: as marked, or else by task, in the curator's shares."""
    held = [d.split == CALIBRATION for d in decisions]
    if not any(held):
        units = len(set(units_of(decisions)))
        share = max(CALIBRATION_SHARE, min(CALIBRATION_TASKS, units // 2) / units)
        held = [part == 1 for part in parts_by_task(decisions, (1 - share, share), seed)]
    pairs = list(zip(decisions, held, strict=True))
    return [d for d, out in pairs if not out], [d for d, out in pairs if out]


def _gate_rows(answers: Sequence[Answer]) -> GateRows:
    """As the test sees them; decisions whose agreement is unknown are left out."""
    known = [(answer, agrees) for answer in answers if (agrees := answer.agrees) is not None]
    return GateRows.of(
        units_of([answer.decision for answer, _ in known]),
        [answer.proposal.action for answer, _ in known],
        [answer.proposal.confidence for answer, _ in known],
        [answer.sendable for answer, _ in known],
        [agrees for _, agrees in known],
    )


def _timed(student: Student, decisions: Sequence[Decision]) -> Timing:
    timing = time_proposals(student, decisions)
    assert timing is not None  # noqa: S101  a plan to train has calibration decisions
    return timing


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
