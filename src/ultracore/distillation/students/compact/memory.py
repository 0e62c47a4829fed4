"""The context memory: what the teacher did when it was in exactly this state before.

A remembered decision is proposed only where training showed how reliable such memories are: the
confidence of a context seen n times is the measured share of contexts seen n times (one of the
sightings left out) in which the teacher decided the same once more. Where several teachers were learned from,
each has memories of its own. What this file does not know: states that merely resemble one another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from ultracore.distillation.agreement import normalise
from ultracore.distillation.decisions import Decision, State, teachers_apart
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.schema import is_valid
from ultracore.distillation.tools import Tool, ToolCall, canonical_json

__all__ = ["ContextMemory", "content_of"]

MAX_COUNT = 8
"""Contexts seen more often than this share one reliability."""


class ContextMemory(msgspec.Struct):
    """Decisions by context.

    Attributes:
        decisions: State key, and the teacher where there are several -> (calls of the most frequent decision, its
            votes, all votes).
        reliability: "votes/all" (each at most MAX_COUNT) -> measured agreement of the next decision.
    """

    decisions: dict[str, tuple[list[dict[str, Any]], int, int]] = {}
    reliability: dict[str, float] = {}

    @classmethod
    def build(cls, decisions: Sequence[Decision]) -> ContextMemory:
        """Remember the contexts of decisions whose arguments are known; one of weight w was seen w times."""
        seen: dict[str, list[tuple[bytes, Decision]]] = defaultdict(list)
        for decision, teacher in zip(decisions, teachers_apart(decisions), strict=True):
            text = content_of(decision.calls, decision.state.tools)
            if text is not None:
                seen[_key(decision.state, teacher)].append((text, decision))
        kept = {}
        hits: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for key, entries in seen.items():
            votes: Counter[bytes] = Counter()
            for said, decision in entries:
                votes[said] += max(1, round(decision.weight))
            text, count = min(votes.items(), key=lambda item: (-item[1], item[0]))
            calls = next(decision.calls for said, decision in entries if said == text)
            kept[key] = ([msgspec.to_builtins(call) for call in calls], count, votes.total())
            _leave_one_out(votes, hits)
        return cls(kept, {bucket: (right + 0.5) / (n + 1.0) for bucket, (right, n) in hits.items() if n >= 5})

    def recall(self, state: State, teacher: str = "") -> Proposal | None:
        """What this teacher did, or `None` if the state is new or its memory of unknown reliability."""
        entry = self.decisions.get(_key(state, teacher)) if self.decisions else None
        if entry is None:
            return None
        calls, votes, total = entry
        # Contexts seen n times were measured on n - 1 sightings: the most frequent ones have no bucket of their own.
        confidence = self.reliability.get(_bucket(votes, total), self.reliability.get(_bucket(votes - 1, total - 1)))
        if confidence is None:
            return None
        tools = {tool.name: tool for tool in state.tools}
        found = tuple(ToolCall(call["name"], call["arguments"]) for call in calls)
        if not all(call.name in tools and is_valid(tools[call.name], call.arguments or {}) for call in found):
            return None
        return Proposal(found, confidence, source="cache")


def _key(state: State, teacher: str) -> str:
    return f"{state.key} {teacher}" if teacher else state.key


def _leave_one_out(votes: Counter[bytes], hits: dict[str, list[int]]) -> None:
    """Count, for each sighting, whether the others would have foretold it."""
    total = sum(votes.values())
    if total < 2:
        return
    for text, count in votes.items():
        others = votes - Counter([text])
        best, majority = min(others.items(), key=lambda item: (-item[1], item[0]))
        bucket = hits[_bucket(majority, total - 1)]
        bucket[0] += count * (best == text)
        bucket[1] += count


def _bucket(votes: int, total: int) -> str:
    return f"{min(votes, MAX_COUNT)}/{min(total, MAX_COUNT)}"


def content_of(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> bytes | None:
    """Equal for calls that agree strictly, whatever their order; `None` where arguments were not recorded."""
    offered = {tool.name: tool for tool in tools}
    parts = []
    for call in calls:
        arguments = normalise(call, offered.get(call.name))
        if arguments is None:
            return None
        parts.append([call.name, arguments])
    return canonical_json(sorted(parts, key=canonical_json))
