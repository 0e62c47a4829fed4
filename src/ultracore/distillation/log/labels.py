"""Decisions with the teacher's word on each, where it is known, and how likely it was to be known.

After a student has taken over, only what it hands over and what is audited has a label. A decision that was drawn for
its label with probability p stands for 1/p of them (Horvitz & Thompson 1952): without that weight the calls that
are sent would all but vanish from what is learned and measured. What this file does not know: what is learned.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.events import AuditRecordedEvent, EventStore
from ultracore.distillation.log.history import Row, rows_from_log
from ultracore.distillation.tools import REPLY

__all__ = ["AUDITED", "audits_of", "label_of", "labelled_rows"]

AUDITED = "audit"
"""The `source` of a row that a student answered and whose label comes from an audit."""


def labelled_rows(
    store: EventStore, *, tenant: str | None = None, unlabelled: bool = False, **filters: Any
) -> list[Row]:
    """The teacher's decisions, and those of a student that were audited, as the teacher would have decided.

    Args:
        store: The log.
        tenant: Only this tenant's.
        unlabelled: Also what a student answered and nobody checked, as it was answered.
        **filters: See `rows_from_log`.

    Returns:
        Rows with a `weight`: one over the probability that the label was known.
    """
    audits, rows = audits_of(store, tenant=tenant), []
    for row in rows_from_log(store, tenant=tenant, include_student=True, **filters):
        audit = audits.get(row["event_id"]) if row["source"] == "student" else None
        if audit is not None:
            rows.append(label_of(row, audit))
        elif row["source"] != "student":
            rows.append({**row, "weight": 1.0 / (row.get("label_probability") or 1.0)})
        elif unlabelled:
            rows.append(row)
    return rows


def audits_of(store: EventStore, **filters: Any) -> dict[str, AuditRecordedEvent]:
    """The audits that have a label, by decision.

    Args:
        store: The log.
        **filters: See `EventStore.read`.
    """
    return {
        event.decision_id: event
        for event in store.read(types=[AuditRecordedEvent.event_type], **filters)
        if isinstance(event, AuditRecordedEvent) and event.agrees is not None and not event.metadata.erased
    }


def label_of(row: Row, audit: AuditRecordedEvent) -> Row:
    """The row of a student's answer with the teacher's decision in its place."""
    calls = audit.teacher_calls
    return {
        **row,
        "source": AUDITED,
        "tool_calls": calls,
        "tool_selected": calls[0]["name"] if calls else REPLY,
        "tool_parameters": calls[0].get("arguments") if calls else None,
        "reply": None,
        "sent": row.get("tool_calls"),
        "weight": 1.0 / audit.sampling_probability if audit.sampling_probability else 1.0,
    }
