"""Decisions as flat rows, outcomes merged: what all later stages read.

What this file does not know: who wrote the events, and what is learned from the rows.
"""

from __future__ import annotations

import logging
from typing import Any

from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.events import (
    AgentDecisionEvent,
    DecisionOutcomeEvent,
    Event,
    EventStore,
    FeedbackRecordedEvent,
)

__all__ = ["decisions_from_log", "rows_from_log"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]
TYPES = (AgentDecisionEvent.event_type, DecisionOutcomeEvent.event_type, FeedbackRecordedEvent.event_type)
OUTCOME_KEYS = ("success", "status", "execution_time_ms", "result", "error", "cost_usd")
FEEDBACK_KEYS = ("success", "result", "error", "cost_usd")


def rows_from_log(
    store: EventStore,
    *,
    tenant: str | None = None,
    agent: str | None = None,
    correlation: str | None = None,
    after: int = 0,
    until: int | None = None,
    since: str | None = None,
    until_time: str | None = None,
    include_student: bool = False,
) -> list[Row]:
    """Every decision as one flat dict, in the order of the log.

    Args:
        store: The log.
        tenant: Only this tenant's decisions.
        agent: Only this agent's.
        correlation: Only those of this run or import.
        after: Only those after this position.
        until: Only what was known at this position, outcomes included.
        since: Only what happened at this time or later, ISO 8601.
        until_time: Only what had happened by this time, outcomes included; for any past moment see
            `events.moment.known_at`.
        include_student: Also what a student answered; such rows are no labels.

    Decisions whose personal fields were erased are left out, and their number is logged.

    Returns:
        Rows with the keys of the event's data, `event_id`, `timestamp` and `tenant_id`.
    """
    rows: dict[str, Row] = {}
    outcomes: dict[str, Row] = {}
    feedback: dict[str, Row] = {}
    erased = 0
    known = store.read(after=after, until=until, since=since, until_time=until_time, types=TYPES, tenant=tenant)
    for event in known:
        if isinstance(event, AgentDecisionEvent):
            if not _wanted(event, agent, correlation, include_student):
                continue
            if event.metadata.erased:
                erased += 1
            else:
                rows[event.metadata.event_id] = row_of(event)
        elif isinstance(event, DecisionOutcomeEvent) and not event.metadata.erased:
            outcomes[event.decision_id] = outcome_of(event)
        elif isinstance(event, FeedbackRecordedEvent) and not event.metadata.erased:
            feedback[event.decision_id] = feedback_of(event)
    if erased:
        logger.warning("%d decisions are left out: their personal data were erased", erased)
    for decision_id, row in rows.items():
        if decision_id in outcomes or decision_id in feedback:
            row["outcome"] = {**outcomes.get(decision_id, {}), **feedback.get(decision_id, {})}
    return list(rows.values())


def decisions_from_log(store: EventStore, **filters: Any) -> list[Decision]:
    """As `rows_from_log`, read as decisions.

    Raises:
        DataError: A row names a tool that has no name.
    """
    return decisions_from_rows(rows_from_log(store, **filters))


def row_of(event: Event) -> Row:
    """An event as a flat row."""
    value = event.to_dict()
    metadata = value["metadata"]
    identity = {key: metadata[key] for key in ("event_id", "timestamp", "tenant_id")}
    return {**value["data"], **identity}


def outcome_of(event: DecisionOutcomeEvent) -> Row:
    """The outcome as it stands in a row."""
    return {key: getattr(event, key) for key in OUTCOME_KEYS}


def feedback_of(event: FeedbackRecordedEvent) -> Row:
    """What feedback says in a row's outcome: whether the answer was right goes before how it was delivered."""
    told = {key: getattr(event, key) for key in FEEDBACK_KEYS}
    return {key: value for key, value in told.items() if value is not None}


def _wanted(event: AgentDecisionEvent, agent: str | None, correlation: str | None, include_student: bool) -> bool:
    return (
        (agent is None or event.agent_id == agent)
        and (correlation is None or event.metadata.correlation_id == correlation)
        and (include_student or event.source != "student")
        and not (event.serving or {}).get("partial")  # the teacher saw more than was written down: no example
    )
