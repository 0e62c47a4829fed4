"""What a decision says as a row of the history: who, when, which tool, how valid; nothing that names a person.

Messages and arguments become fingerprints, so that repeats can be found and compared without being read. What this
file does not know: tables.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from ultracore.distillation.agreement import normalise
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.students.schema import is_valid
from ultracore.distillation.tools import REPLY, Tool, ToolCall, canonical_json, fingerprint, parse_tool

__all__ = ["DERIVED", "OUTCOME", "decision_row"]

DERIVED = ("arguments_known", "arguments_valid", "context_id", "call_id", "episode_id")
"""Columns that are derived from personal fields."""

OUTCOME = ("success", "status", "execution_time_ms", "cost_usd")
TOOLS_IN_MEMORY = 512


def decision_row(event: AgentDecisionEvent) -> dict[str, Any]:
    """The columns of table `decisions`; what an outcome tells later is empty, or what the event itself told."""
    metadata, serving = event.metadata, event.serving or {}
    told = event.outcome or {}
    student = event.source == "student"
    return {
        "position": metadata.position,
        "event_id": metadata.event_id,
        "timestamp": metadata.timestamp,
        "tenant_id": metadata.tenant_id,
        "agent_id": event.agent_id,
        "environment": event.environment,
        "source": event.source,
        "teacher_model": event.teacher_model,
        "tool_selected": event.tool_selected,
        "confidence": event.confidence,
        "teacher_confidence": event.teacher_confidence,
        "label_probability": event.label_probability,
        "subject": metadata.subject,
        "model_id": serving.get("model_id") if student else None,
        "reason": serving.get("reason"),
        **{name: told.get(name) for name in OUTCOME},
        **_judged(event),
        "erased": metadata.erased,
        "changed": metadata.position,
    }


def _judged(event: AgentDecisionEvent) -> dict[str, Any]:
    """Whether the tool was offered and its arguments are valid, and the fingerprints of state and calls."""
    tools = _tools(msgspec.json.encode(event.tools_available))
    offered = None if not tools or not event.tool_selected else event.tool_selected in tools
    if event.metadata.erased:
        return {"calls": int(bool(event.tool_selected)), "tool_offered": offered, **dict.fromkeys(DERIVED)}
    try:
        decision = Decision.from_row(_row_of(event) | {"tools_available": tools.values()})
    except DataError:  # a call or a tool without a name, which an importer of an earlier release let through
        return {"calls": 0, "tool_offered": False, **dict.fromkeys(DERIVED), "arguments_valid": False}
    known = all(_is_known(call, tools) for call in decision.calls)
    return {
        "calls": len(decision.calls),
        "tool_offered": offered,
        "arguments_known": known if decision.calls else None,
        "arguments_valid": all(_is_valid(call, tools) for call in decision.calls) if decision.calls and known else None,
        "context_id": decision.state.key,
        "call_id": _call_id(decision.calls, tools) if known else None,
        "episode_id": fingerprint(event.session_id or event.metadata.event_id),
    }


def _row_of(event: AgentDecisionEvent) -> dict[str, Any]:
    names = ("context", "tool_selected", "tool_parameters", "tool_calls", "reply")
    return {name: getattr(event, name) for name in names}


def _is_known(call: ToolCall, tools: dict[str, Tool]) -> bool:
    return normalise(call, tools.get(call.name)) is not None


def _is_valid(call: ToolCall, tools: dict[str, Tool]) -> bool:
    tool = tools.get(call.name)
    return tool is not None and is_valid(tool, call.arguments or {})


def _call_id(calls: tuple[ToolCall, ...], tools: dict[str, Tool]) -> str:
    """Equal where the calls agree strictly; all text replies agree."""
    said = sorted(canonical_json([call.name, normalise(call, tools.get(call.name))]) for call in calls)
    return fingerprint([line.decode() for line in said] or REPLY)


@lru_cache(maxsize=TOOLS_IN_MEMORY)
def _tools(offered: bytes) -> dict[str, Tool]:
    try:
        return {tool.name: tool for tool in map(parse_tool, msgspec.json.decode(offered))}
    except DataError:
        return {}
