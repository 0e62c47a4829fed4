"""The shadow: what the student would have done, asked once the teacher's answer is final, seen by nobody.

Every request of a shadowed agent that the teacher answered leaves one event, also where the student had no
time. What this file does not know: what is done with the findings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import action_of
from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent, Event, ShadowRecordedEvent
from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Gate
from ultracore.distillation.tools import ToolCall, parse_call

__all__ = ["Shadow"]


class _Watched:
    """A request that is being answered by the teacher."""

    def __init__(self, exchange: Exchange, gate: Gate) -> None:
        self.exchange = exchange
        self.gate = gate
        self.teacher: tuple[ToolCall, ...] | None = None


class Shadow:
    """Asks the student beside the teacher; a `Observer` of the journal, from which it learns that an answer is final.

    Args:
        decider: Where the student runs; its bounds hold for the shadow too.
        write: Takes what was found.
    """

    of: ClassVar[tuple[type[Event], ...]] = (AgentDecisionEvent, DecisionOutcomeEvent)

    def __init__(self, decider: Decider, write: Callable[[Event], None]) -> None:
        self._decider = decider
        self._write = write
        self._watched: dict[str, _Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, exchange: Exchange, gate: Gate | None) -> None:
        """Ask the student too, once the teacher has answered this."""
        if gate is not None:
            self._watched[exchange.receipt] = _Watched(exchange, gate)

    def wrote(self, event: Event) -> None:
        """See `Observer.wrote`."""
        watched = self._watched.get(event.metadata.aggregate_id)
        if watched is None:
            return
        if isinstance(event, AgentDecisionEvent):
            watched.teacher = tuple(parse_call(call) for call in event.tool_calls or ())
        elif isinstance(event, DecisionOutcomeEvent):
            del self._watched[watched.exchange.receipt]
            task = asyncio.create_task(self._ask(watched))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def lost(self, count: int) -> None:
        """See `Observer.lost`."""

    async def aclose(self) -> None:
        """Wait for what was begun; the decider's deadline bounds it."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, watched: _Watched) -> None:
        verdict = await self._decider.decide(watched.gate, watched.exchange.request)
        proposal, exchange = verdict.proposal, watched.exchange
        calls = () if proposal is None else proposal.calls
        known = watched.teacher is not None and proposal is not None
        tools = exchange.offer.tools.values()
        agrees = strict(calls, watched.teacher or (), tools, watched.gate.comparators) if known else None
        event = ShadowRecordedEvent.record(
            decision_id=exchange.receipt,
            model_id=watched.gate.student.model_id,
            certificate_id=watched.gate.certificate_id,
            would_send=not isinstance(verdict, Escalate),
            reason=str(verdict.reason) if isinstance(verdict, Escalate) else None,
            action=action_of(calls),
            confidence=None if proposal is None else proposal.confidence,
            agrees=agrees,
            calls=[{"name": call.name, "arguments": call.arguments} for call in calls],
            subject=exchange.user_id,
            causation_id=exchange.receipt,
            tenant_id=exchange.tenant,
            clock=exchange.clock,
        )
        self._write(event)
