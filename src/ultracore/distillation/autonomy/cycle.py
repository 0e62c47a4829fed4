"""One round of the loop: look, roll back, promote, ask for a training, train; each step its own event.

The four agents share it: the evaluation watches and decides, the curator and the trainer work in its backend, and the
prompt optimizer says why it has nothing to do. Nothing is remembered but the log, so that a round after a crash goes
on where the last one was. What this file does not know: how long to wait between rounds, and what a stage does inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ultracore.distillation.autonomy.decisions import DecisionRecorder
from ultracore.distillation.autonomy.promotion import candidate_of, next_stage, revocation_of, roll_back
from ultracore.distillation.autonomy.rules import RetrainRules
from ultracore.distillation.autonomy.situation import FAILED, Situations
from ultracore.distillation.autonomy.triggers import capped, due
from ultracore.distillation.autonomy.work import TrainingBackend
from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    Event,
    EventStore,
    ModelRejectedEvent,
    RetrainTriggeredEvent,
)
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.students.models import model_states
from ultracore.distillation.students.registry import ModelRegistry

__all__ = ["Cycle"]

EVALUATION, CURATOR, OPTIMIZER, TRAINER = "evaluation", "data_curator", "prompt_optimizer", "model_trainer"
MOST_FAILURES = 3


class _Seen(NamedTuple):
    """A candidate, the labelled decisions when it was first seen here, and those at which to compare again.

    A comparison asks two models about all that is fresh: looks that come a fifth later each cost five times the last.
    """

    model_id: str = ""
    base: int = 0
    next_look: int = 0


class Cycle:
    """Does rounds.

    Args:
        store: The log.
        home: The home folder.
        tenant: Whose models.
        backend: Where the heavy work is done.
        look: Reads audits and drift and appends what follows, such as `Watcher.look`.
        retraining: Rules, declared before.
        clock: Tells the time.
        registry: The models; those of the home by default.
    """

    def __init__(
        self,
        store: EventStore,
        home: Path,
        tenant: str,
        backend: TrainingBackend,
        *,
        look: Callable[[], Any] = lambda: None,
        retraining: RetrainRules | None = None,
        clock: Callable[[], datetime] = utc_now,
        registry: ModelRegistry | None = None,
    ) -> None:
        self.store, self.tenant, self.clock = store, tenant, clock
        self._backend = backend
        self._look = look
        self._retraining = retraining or RetrainRules()
        self._registry = registry or ModelRegistry(home, store)
        self._situations = Situations(store, home / "state")
        self._recorder = DecisionRecorder(store, tenant, clock)
        self._seen = _Seen()

    @property
    def stages(self) -> Sequence[Callable[[], None]]:
        """The steps of a round, in order; each may fail without the others."""
        return (self.watch, self.recover, self.promote, self.trigger, self.train)

    def round(self) -> None:
        """All of them once."""
        for stage in self.stages:
            stage()

    def close(self) -> None:
        """Let go of files."""
        self._situations.close()

    def failed(self, stage: str, why: str) -> None:
        """Write down that a stage failed."""
        self._recorder.note(EVALUATION, FAILED, f"{stage}: {why}", key=stage)

    def watch(self) -> None:
        """Perceive: audits and drift; what follows from them is in the log afterwards."""
        self._look()

    def recover(self) -> None:
        """Where the model that answers was revoked as a whole, the last good one answers."""
        models = model_states(self.store, self.tenant)
        if any(m.active for m in models) or not any(m.status == "revoked" for m in models):
            return
        event = roll_back(self.store, self._registry, self.tenant, self._reason(models), clock=self.clock)
        if event is not None:
            to = getattr(event, "to_model_id", None) or "the teacher alone"
            self._recorder.act([event], EVALUATION, "roll_back", f"revoked, {to} answers")

    def promote(self) -> None:
        """Compare the candidate once there is enough that is new, and take the step that follows."""
        candidate = candidate_of(self.store, self.tenant)
        if candidate is None:
            return None
        if self._active() is None:
            return self._refuse(candidate.model_id, "the model that it was compared with answers no more")
        if self._active() != candidate.against:
            return self._refuse(candidate.model_id, f"{self._active()} answers now, not {candidate.against}")
        if not self._enough_news(candidate.model_id):
            return None
        try:
            found = self._backend.compare()
        except LogError:
            raise  # it says nothing of the candidate: the next round compares again
        except DistillationError as error:
            return self._refuse(candidate.model_id, str(error))
        event = next_stage(self.store, self.tenant, candidate, found.comparison, found.canary_units, clock=self.clock)
        evidence = {"units": found.comparison.units, "canary_units": found.canary_units}
        if event is None:
            words = found.comparison.reason
            self._recorder.note(EVALUATION, "wait", words, model_id=candidate.model_id, key=candidate.stage, **evidence)
        else:
            action = {"MODEL_STAGED": "canary", "MODEL_DEPLOYED": "promote"}.get(event.event_type, "refuse")
            self._recorder.act([event], EVALUATION, action, found.comparison.reason, candidate.model_id, **evidence)
        return None

    def trigger(self) -> None:
        """Ask for a training where one is due and allowed, and none is under way."""
        seen = self._situations.now(self.tenant)
        if seen.owed or candidate_of(self.store, self.tenant) is not None:
            return
        now = self.clock()
        wanted = due(seen, self._retraining, self._known_tools(), now)
        if wanted is None:
            return
        if why := capped(seen, self._retraining, now):
            self._recorder.note(EVALUATION, "wait", f"{wanted.words}; but {why}", key=wanted.reason)
            return
        event = RetrainTriggeredEvent.record(
            model_id=self._active() or "", reason=wanted.reason, tenant_id=self.tenant, clock=self.clock
        )
        evidence = {"labelled": seen.labelled, "new": seen.new}
        self._recorder.act([event], EVALUATION, "retrain", wanted.words, self._active(), **evidence)

    def train(self) -> None:
        """Do a training that was asked for; one that fails three times is given up until the next reason."""
        seen = self._situations.now(self.tenant)
        if not seen.owed:
            return
        if seen.failures >= MOST_FAILURES:
            self._recorder.note(TRAINER, "give_up", f"failed {seen.failures} times", key=seen.asked[-1])
            return
        self._recorder.note(CURATOR, "curate", f"{seen.labelled:,} labelled decisions", key=seen.asked[-1])
        self._recorder.note(OPTIMIZER, "skip", "the compact student reads no prompt of ours", key="compact")
        try:
            found = self._backend.train()
        except DistillationError as error:
            self._recorder.note(TRAINER, FAILED, str(error), key=f"{seen.asked[-1]} {seen.failures}")
            return
        action = "skip" if found.get("status") == "waiting" else "train"
        words = f"{found.get('status')}: {found.get('reason', '')}"
        numbers = {name: found[name] for name in ("coverage", "decisions") if name in found}
        self._recorder.note(TRAINER, action, words, model_id=found.get("model_id"), key=seen.asked[-1], **numbers)

    def _enough_news(self, model_id: str) -> bool:
        """Whether a fifth more is labelled than at the last look, counted from when this candidate was first seen."""
        labelled = self._situations.now(self.tenant).labelled
        seen = self._seen if self._seen.model_id == model_id else _Seen(model_id, labelled, 0)
        if labelled < seen.next_look:
            return False
        self._seen = seen._replace(next_look=max(labelled + 10, round(seen.base + 1.2 * (labelled - seen.base))))
        return True

    def _refuse(self, model_id: str, why: str) -> None:
        event = ModelRejectedEvent.record(model_id=model_id, reason=why, tenant_id=self.tenant, clock=self.clock)
        self._recorder.act([event], EVALUATION, "refuse", why, model_id)

    def _active(self) -> str | None:
        return self._registry.active_id(self.tenant)

    def _known_tools(self) -> set[str] | None:
        """Of the newest certificate, issued or refused; `None` where there is none."""
        last: Event | None = None
        for event in self.store.read(types=[CertificateDecidedEvent.event_type], tenant=self.tenant):
            last = event
        return set(last.certificate.get("tools", ())) if isinstance(last, CertificateDecidedEvent) else None

    def _reason(self, models: Sequence[Any]) -> str:
        revoked = [m for m in models if m.status == "revoked"]
        last = max(revoked, key=lambda m: m.deployed_at)
        event = revocation_of(self.store, self.tenant, last.model_id)
        return event.reason if event is not None else "revoked"
