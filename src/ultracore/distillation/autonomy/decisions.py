"""What the agents decided, into the log: with the event that it led to, in one append; waiting only when it is news.

What this file does not know: what there is to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ultracore.distillation.events import Event, EventStore, LoopDecidedEvent

__all__ = ["DecisionRecorder"]


class DecisionRecorder:
    """Appends what the loop decided, `LOOP_DECIDED`.

    Args:
        store: The log.
        tenant: Whose decisions.
        clock: Tells the time.
    """

    def __init__(self, store: EventStore, tenant: str, clock: Callable[[], datetime]) -> None:
        self._store, self._tenant, self._clock = store, tenant, clock
        self._said: dict[str, str] | None = None

    def act(
        self,
        events: Sequence[Event],
        agent: str,
        action: str,
        reason: str,
        model_id: str | None = None,
        **evidence: Any,
    ) -> None:
        """Append what is done together with why: a crash leaves both or none."""
        self._store.append([*events, self._decided(agent, action, reason, model_id, evidence)])
        self._known[agent] = ""

    def note(
        self, agent: str, action: str, reason: str, *, model_id: str | None = None, key: str = "", **evidence: Any
    ) -> None:
        """Write down a decision that changes nothing, unless it was the agent's last word.

        Args:
            agent: Who decided.
            action: What.
            reason: Why; its numbers may change without being news.
            model_id: About which model.
            key: Tells one such decision from another.
            **evidence: Numbers.
        """
        word = f"{action} {model_id} {key}"
        if self._known.get(agent) == word:
            return
        self._store.append([self._decided(agent, action, reason, model_id, {**evidence, "key": key})])
        self._known[agent] = word

    def _decided(self, agent: str, action: str, reason: str, model_id: str | None, evidence: dict[str, Any]) -> Event:
        return LoopDecidedEvent.record(
            agent=agent, action=action, reasons=[reason], model_id=model_id, evidence=evidence,
            tenant_id=self._tenant, clock=self._clock,
        )  # fmt: skip

    @property
    def _known(self) -> dict[str, str]:
        """Each agent's last word, read from the log once."""
        if self._said is None:
            self._said = {}
            for event in self._store.read(types=[LoopDecidedEvent.event_type], tenant=self._tenant):
                if isinstance(event, LoopDecidedEvent) and "key" in event.evidence:
                    self._said[event.agent] = f"{event.action} {event.model_id} {event.evidence['key']}"
        return self._said
