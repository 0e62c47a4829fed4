"""Writes an agent's decisions down; what it has acknowledged survives a crash.

Cheap to construct: the log is opened by the first decision, off the event loop. What this file does
not know: how events are stored (`events`), and what is learned from them.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any

from ultracore.distillation.errors import ConfigurationError, EventError, UnknownSessionError
from ultracore.distillation.events import (
    AgentDecisionEvent,
    DecisionOutcomeEvent,
    Event,
    EventStore,
    SessionEndedEvent,
    SessionStartedEvent,
)
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.log.history import Row, rows_from_log
from ultracore.distillation.log.sessions import Session, SessionStats, SessionSummary
from ultracore.distillation.settings import load_settings
from ultracore.distillation.tools import REPLY, ToolCall, parse_call, parse_tool

__all__ = ["AgentDecisionLogger"]

ENDED_SESSIONS_KEPT = 10_000


class AgentDecisionLogger:
    """Logs decisions, their outcomes, and sessions of them.

    Args:
        store: Where to write; the log in `home` by default.
        home: Folder of the log; `DISTILL_HOME`, else `./.distill`, by default.
        tenant_id: Whose decisions these are; `DISTILL_TENANT`, else `default`, by default.
        clock: Tells the time of the events.

    Example:
        >>> import asyncio, tempfile
        >>> logger = AgentDecisionLogger(home=tempfile.mkdtemp())
        >>> async def decide():
        ...     return await logger.log_decision(
        ...         agent_id="support", context={"question": "where is my parcel?"},
        ...         tools_available=[{"name": "track"}], tool_selected="track", confidence=0.95)
        >>> event_id = asyncio.run(decide())
        >>> [row["tool_selected"] for row in logger.get_history()]
        ['track']
    """

    def __init__(
        self,
        store: EventStore | None = None,
        *,
        home: str | Path | None = None,
        tenant_id: str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._home = home
        self._tenant_id = tenant_id
        self._clock = clock
        self._correlation_id = uuid.uuid4().hex
        self._first_position: int | None = None
        self._sessions: dict[str, Session] = {}
        self._ended: dict[str, Session] = {}

    async def log_decision(
        self,
        agent_id: str,
        context: Mapping[str, Any] | None = None,
        tools_available: Iterable[Any] = (),
        tool_selected: str | None = None,
        reasoning: str = "",
        confidence: float | None = None,
        *,
        tool_parameters: Mapping[str, Any] | None = None,
        tool_calls: Iterable[Mapping[str, Any]] | None = None,
        reply: str | None = None,
        session_id: str | None = None,
        teacher_model: str | None = None,
        teacher_confidence: float | None = None,
        teacher_reasoning: str | None = None,
        outcome: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        environment: str | None = None,
        tenant_id: str | None = None,
        task: str | None = None,
        source: str = "teacher",
    ) -> str:
        """Write one decision down; it is on disk when this returns.

        Args:
            agent_id: Whose decision it is.
            context: What the model saw: `{"messages": [...]}` or any other dict.
            tools_available: The tools offered: dicts in any usual form, names, or objects with a name.
            tool_selected: The tool called; `None` for a text reply. A tool that was not offered is logged
                like any other: that it happened is a fact.
            reasoning: Why, in the model's words.
            confidence: How sure the model was (0..1).
            tool_parameters: The arguments; left out they are unknown, which is not the same as `{}`.
            tool_calls: All calls, `{"name", "arguments"}` each, where there were several.
            reply: The text said, with or instead of a call.
            session_id: The session or conversation it belongs to.
            teacher_model: The model that decided.
            teacher_confidence: The teacher's own confidence (0..1).
            teacher_reasoning: The teacher's own words.
            outcome: What came of it, if that is known already.
            user_id: On whose behalf.
            environment: Where: production, staging ...
            tenant_id: Whose data it is; the logger's tenant by default.
            task: What the conversation is about; decisions of one task are never split apart.
            source: `teacher`, or `student` for a decision that is no label.

        Returns:
            The event id.

        Raises:
            ConfigurationError: An argument cannot be used; the message names it.
            EventError: A value cannot be stored as JSON.
            LogError: The log cannot be opened or written; nothing was stored.
        """
        calls = None if tool_calls is None else [parse_call(call) for call in tool_calls]
        selected, parameters = _first_call(tool_selected, tool_parameters, calls)
        session = self._sessions.get(session_id) if session_id else None
        event = AgentDecisionEvent.record(
            agent_id=_text("agent_id", agent_id),
            session_id=session_id,
            context=_object("context", context or {}),
            tools_available=[_tool(tool) for tool in tools_available],
            tool_selected=selected,
            tool_parameters=parameters,
            tool_calls=None if calls is None else [_call(call) for call in calls],
            reply=reply,
            reasoning=reasoning,
            confidence=_fraction("confidence", confidence),
            teacher_model=teacher_model,
            teacher_confidence=_fraction("teacher_confidence", teacher_confidence),
            teacher_reasoning=teacher_reasoning,
            outcome=None if outcome is None else _object("outcome", outcome),
            environment=environment,
            user_id=user_id or (session.user_id if session else None),
            source=source,
            task=task,
            step=session.next_step() if session else None,
            **self._metadata(tenant_id),
        )
        await self._append(event)
        if session:
            session.add_decision(confidence)
        return event.metadata.event_id

    def get_history(self) -> list[Row]:
        """This logger's own decisions, in order, as flat dicts with their outcomes; reads the log."""
        if self._first_position is None:
            return []
        return rows_from_log(
            self._opened(), correlation=self._correlation_id, after=self._first_position - 1, include_student=True
        )

    async def start_session(
        self, agent_id: str, context: Mapping[str, Any] | None = None, *, user_id: str | None = None
    ) -> str:
        """Begin a session; pass the id to `log_decision` and `log_outcome`.

        Args:
            agent_id: Whose session it is.
            context: What is known at its start.
            user_id: On whose behalf; also of its decisions that do not say.

        Returns:
            The session id.
        """
        session_id = uuid.uuid4().hex
        await self._append(
            SessionStartedEvent.record(
                session_id=session_id,
                agent_id=_text("agent_id", agent_id),
                context=_object("context", context or {}),
                subject=user_id,
                **self._metadata(),
            )
        )
        self._sessions[session_id] = Session(session_id, agent_id, time.monotonic, user_id)
        return session_id

    async def log_outcome(
        self,
        session_id: str | None,
        event_id: str,
        success: bool,
        execution_time_ms: float | None = None,
        result: Any = None,
        error: str | None = None,
        cost_usd: float | None = None,
    ) -> str:
        """Write down what came of a decision; a decision has one outcome at most.

        Args:
            session_id: An open session of this logger, or `None`.
            event_id: The decision, as `log_decision` returned it.
            success: Whether it did what it should.
            execution_time_ms: How long the tool ran.
            result: What the tool returned; anything that has a JSON form.
            error: What went wrong.
            cost_usd: What it cost.

        Returns:
            The id of the outcome's own event.

        Raises:
            UnknownSessionError: No such session is open.
            EventError: There is no such decision, or it has an outcome already.
        """
        session = None if session_id is None else self._session(session_id)
        store = await asyncio.to_thread(self._opened)
        outcome_id = f"{event_id}-outcome"  # one id for one decision: the log refuses a second one, in any process
        decision = await asyncio.to_thread(_decision, store, event_id)
        if decision is None:
            raise EventError(f"no decision {event_id} is in the log; pass the id that log_decision returned")
        if await asyncio.to_thread(store.known, {outcome_id}):
            raise EventError(f"the outcome of decision {event_id} is in the log already")
        await self._append(
            DecisionOutcomeEvent.record(
                event_id=outcome_id,
                causation_id=event_id,
                subject=decision.metadata.subject,
                decision_id=event_id,
                session_id=session_id,
                success=bool(success),
                status="ok" if success else "error",
                execution_time_ms=execution_time_ms,
                result=result,
                error=error,
                cost_usd=cost_usd,
                **self._metadata(decision.metadata.tenant_id),
            )
        )
        if session:
            session.add_outcome(success, execution_time_ms, cost_usd)
        return outcome_id

    async def end_session(self, session_id: str) -> SessionSummary:
        """End a session.

        Raises:
            UnknownSessionError: No such session is open.
        """
        session = self._session(session_id)
        summary = session.summary()
        await self._append(SessionEndedEvent.record(**summary, **self._metadata()))
        session.end()
        self._sessions.pop(session_id, None)
        self._ended[session_id] = session
        if len(self._ended) > ENDED_SESSIONS_KEPT:
            self._ended.pop(next(iter(self._ended)))
        return summary

    def get_session_stats(self, session_id: str) -> SessionStats:
        """The figures of a session, open or ended.

        Raises:
            UnknownSessionError: This logger started no such session.
        """
        session = self._ended.get(session_id) or self._session(session_id)
        return session.stats()

    def _session(self, session_id: str) -> Session:
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSessionError(
                f"no session {session_id!r} is open in this logger; start one with start_session"
            ) from None

    def _metadata(self, tenant_id: str | None = None) -> dict[str, Any]:
        if self._tenant_id is None:
            self._tenant_id = load_settings().tenant
        return {
            "tenant_id": tenant_id or self._tenant_id,
            "correlation_id": self._correlation_id,
            "clock": self._clock,
        }

    def _opened(self) -> EventStore:
        if self._store is None:
            self._store = open_store(load_settings(home=None if self._home is None else str(self._home)).home_path)
        return self._store

    async def _append(self, event: Event) -> None:
        store = self._store if self._store is not None else await asyncio.to_thread(self._opened)
        future = store.submit([event])
        future.add_done_callback(self._remember)  # also when the awaiting task is cancelled meanwhile
        await asyncio.wrap_future(future)

    def _remember(self, future: Future[list[int]]) -> None:
        if future.exception() is None:
            (position,) = future.result()
            self._first_position = min(position, self._first_position or position)


def _decision(store: EventStore, event_id: str) -> Event | None:
    return next(iter(store.read(aggregate=event_id, types=[AgentDecisionEvent.event_type], limit=1)), None)


def _first_call(
    selected: str | None, parameters: Mapping[str, Any] | None, calls: list[ToolCall] | None
) -> tuple[str | None, dict[str, Any] | None]:
    known = None if parameters is None else _object("tool_parameters", parameters)
    if selected == REPLY:
        return None, known
    if calls and selected is None:
        return calls[0].name, calls[0].arguments
    return selected, known


def _call(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments}


def _tool(value: Any) -> dict[str, Any]:
    """A dict as it was given; a name or an object becomes a dict with what is known of it."""
    tool = parse_tool(value)
    if isinstance(value, Mapping):
        return dict(value)
    known = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {key: item for key, item in known.items() if item}


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a dict, not {type(value).__name__}")
    return dict(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be a non-empty string, not {value!r}")
    return value


def _fraction(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"{name} must be a number between 0 and 1, not {value!r}")
    return float(value)
