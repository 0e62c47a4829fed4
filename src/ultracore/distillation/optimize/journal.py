"""What a run was told: each evaluation and each reflection, in the log, so that a run that goes on asks nothing twice.

The search is deterministic given those answers, so going on means running again over them: nothing is pickled and
no state of another package is kept. What this file does not know: what the answers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ultracore.distillation.events import EventStore, PromptAnsweredEvent, PromptVersionRecordedEvent
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.optimize.evaluation import Scored
from ultracore.distillation.optimize.examples import example_id
from ultracore.distillation.tools import fingerprint

__all__ = ["Journal"]


class Journal:
    """The answers of one run.

    Args:
        store: The log.
        run_id: The run; one that is in the log already goes on.
        agent_id: Whose prompt it is.
        tenant: Whose run it is.
        clock: Tells the time of the events.

    Attributes:
        versions: Ids of the prompt versions that this run recorded.
    """

    def __init__(
        self,
        store: EventStore,
        run_id: str,
        agent_id: str = "",
        tenant: str = "default",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self.run_id = run_id
        self.agent_id = agent_id
        self.tenant = tenant
        self._clock = clock
        self._answers: dict[str, dict[str, Any]] = {}
        self.versions: set[str] = set()
        self._recall()

    def scores(self, prompt: str, examples: Sequence[Any], ask: Callable[[], list[Scored]]) -> list[Scored]:
        """The scores of a prompt on examples, asked for once."""
        key = fingerprint(["scores", prompt, [example_id(example) for example in examples]])
        known = self._answers.get(key)
        if known:
            return [Scored(*row) for row in known["scores"]]
        scored = ask()
        self._answer(key, {"scores": [list(s) for s in scored]})
        return scored

    def text(self, question: str, ask: Callable[[], str]) -> str:
        """The answer to a question that is asked once."""
        key = fingerprint(["text", question])
        known = self._answers.get(key)
        if known:
            return str(known["text"])
        said = ask()
        self._answer(key, {"text": said})
        return said

    def version(
        self, text: str, parent_id: str | None, method: str, score: float | None, examples: int | None, reason: str
    ) -> str:
        """Record a version of the prompt, once; returns its id."""
        prompt_id = fingerprint([self.run_id, text])
        if prompt_id not in self.versions:
            self.versions.add(prompt_id)
            event = PromptVersionRecordedEvent.record(
                prompt_id=prompt_id,
                agent_id=self.agent_id,
                text=text,
                method=method,
                parent_id=parent_id,
                score=score,
                examples=examples,
                run_id=self.run_id,
                reason=reason,
                tenant_id=self.tenant,
                correlation_id=self.run_id,
                clock=self._clock,
            )
            self._store.append([event])
        return prompt_id

    def _answer(self, key: str, answer: dict[str, Any]) -> None:
        self._answers[key] = answer
        event = PromptAnsweredEvent.record(
            run_id=self.run_id,
            question=key,
            answer=answer,
            tenant_id=self.tenant,
            correlation_id=self.run_id,
            clock=self._clock,
        )
        self._store.append([event])

    def _recall(self) -> None:
        answered = PromptAnsweredEvent.event_type
        for event in self._store.read(types=[answered], aggregate=self.run_id, tenant=self.tenant):
            if isinstance(event, PromptAnsweredEvent) and not event.metadata.erased:
                self._answers[event.question] = event.answer
        recorded = PromptVersionRecordedEvent.event_type
        for event in self._store.read(types=[recorded], tenant=self.tenant):
            if isinstance(event, PromptVersionRecordedEvent) and event.run_id == self.run_id:
                self.versions.add(event.prompt_id)
