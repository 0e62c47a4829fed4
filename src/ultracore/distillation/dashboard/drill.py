"""From a served decision to the model that made it, its certificate, its data set, and the rows that it learned from.

Texts of conversations are left out unless the reader's key may read them. What this file does not know: how often
anything happened.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ultracore.distillation.dashboard.pages import Source
from ultracore.distillation.decisions import Decision, text_of
from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    DatasetManifestEvent,
    Event,
    EventStore,
    ModelTrainedEvent,
)
from ultracore.distillation.log.words import in_words
from ultracore.distillation.serve.keys import Key, Scope
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Drill"]

Json = dict[str, Any]

ROWS = 20
"""Training rows in one answer."""

LONGEST = 2000
"""Characters of one message, and messages, that are shown: the newest."""
MESSAGES = 20


class Drill:
    """Follows one decision.

    Args:
        store: The log.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    @property
    def source(self) -> Source:
        """For a page: `?id=RECEIPT&offset=0`."""
        return Source("/dashboard/decision.json", self._asked)

    def _asked(self, key: Key, parameters: dict[str, str]) -> Json:
        offset = parameters.get("offset", "0")
        if not offset.isdecimal() or len(offset) > 9:
            raise RequestError(400, "offset is a number of rows", code="invalid_offset")
        return self.follow(key.tenant, parameters.get("id", ""), texts=key.scope == Scope.ADMIN, offset=int(offset))

    def follow(self, tenant: str, receipt: str, *, texts: bool, offset: int = 0) -> Json:
        """Where a decision came from.

        Args:
            tenant: Whose; another's decision is as good as none.
            receipt: The decision's id, as in the header `x-distill-receipt`.
            texts: Whether texts of conversations are shown.
            offset: Training rows to leave out.

        Raises:
            RequestError: 404, there is no such decision.
        """
        events = list(self._store.read(aggregate=receipt, tenant=tenant)) if receipt else []
        decision = next((event for event in events if isinstance(event, AgentDecisionEvent)), None)
        if decision is None:
            raise RequestError(404, "no such decision", code="unknown_decision")
        model_id = str((decision.serving or {}).get("model_id") or "")
        born = self._model(tenant, model_id, decision.metadata.position or 0)
        trained = born.get(ModelTrainedEvent)
        return {
            "decision": _decision(decision, texts),
            "audit": next((e.agrees for e in events if isinstance(e, AuditRecordedEvent)), None),
            "events": [_step(event, texts) for event in events],
            "texts": texts,
            "model": _trained(trained),
            "certificate": _certificate(born.get(CertificateDecidedEvent)),
            **self._rows(tenant, trained, texts, offset),
        }

    def _model(self, tenant: str, model_id: str, position: int) -> dict[type[Event], Any]:
        """The model's training and its certificate as they were then; the last of each."""
        types = [ModelTrainedEvent.event_type, CertificateDecidedEvent.event_type]
        found = self._store.read(aggregate=model_id, tenant=tenant, until=position, types=types) if model_id else ()
        return {type(event): event for event in found}

    def _rows(self, tenant: str, trained: ModelTrainedEvent | None, texts: bool, offset: int) -> Json:
        if trained is None:
            return {"dataset": None, "rows": [], "offset": 0}
        types = [DatasetManifestEvent.event_type]
        chunks = list(self._store.read(aggregate=trained.dataset_id, tenant=tenant, types=types))
        rows = [
            row for chunk in _whole(chunks) for row in zip(chunk.event_ids, chunk.parts, chunk.weights, strict=True)
        ]
        shown = [self._row(tenant, *row, texts) for row in rows[offset : offset + ROWS]]
        parts = Counter(part for _, part, _ in rows)
        dataset = {"dataset_id": trained.dataset_id, "rows": len(rows), "parts": dict(parts)}
        return {"dataset": dataset, "rows": shown, "offset": offset}

    def _row(self, tenant: str, event_id: str, part: str, weight: float, texts: bool) -> Json:
        types = [AgentDecisionEvent.event_type]
        found = next(iter(self._store.read(aggregate=event_id, tenant=tenant, types=types, limit=1)), None)
        row = {"id": event_id, "part": part, "weight": weight, "tool": getattr(found, "tool_selected", None)}
        return row | ({"words": "not in this log" if found is None else in_words(found)} if texts else {})


def _whole(chunks: list[Any]) -> list[Any]:
    """A manifest that was written several times counts once."""
    return list({chunk.chunk: chunk for chunk in chunks}.values())


def _decision(event: AgentDecisionEvent, texts: bool) -> Json:
    serving = event.serving or {}
    shown = {
        "id": event.metadata.event_id,
        "time": event.metadata.timestamp,
        "agent": event.agent_id,
        "source": event.source,
        "tool": event.tool_selected,
        "teacher": event.teacher_model,
        **{name: serving.get(name) for name in ("model_id", "reason", "confidence", "tier", "latency_ms", "endpoint")},
    }
    if not texts:
        return shown
    messages = Decision.from_row({"context": event.context}).state.messages[-MESSAGES:]
    said = [{"role": str(m.get("role")), "text": text_of(m)[:LONGEST]} for m in messages]
    return {**shown, "erased": event.metadata.erased, "messages": said, "calls": event.tool_calls, "reply": event.reply}


def _step(event: Event, texts: bool) -> Json:
    step = {"time": event.metadata.timestamp, "type": event.event_type}
    return {**step, "words": in_words(event)} if texts else step


def _trained(event: ModelTrainedEvent | None) -> Json | None:
    if event is None:
        return None
    names = ("model_id", "model_name", "decisions", "episodes", "training_seconds", "seed")
    return {"time": event.metadata.timestamp, **{name: getattr(event, name) for name in names}}


def _certificate(event: CertificateDecidedEvent | None) -> Json | None:
    if event is None:
        return None
    names = ("reason", "target", "delta", "coverage", "units", "decisions", "sent", "agreeing", "lower_bound", "method")
    return {"certified": event.certified, **{name: event.certificate.get(name) for name in names}}
