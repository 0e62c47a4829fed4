"""The context memory: what the teacher did when it was in exactly this state before.

A remembered decision is proposed only where training showed how reliable such memories are: the
confidence of a context seen n times is the measured share of contexts seen n times in which the teacher
decided the same once more, in a task that was not among them; or, where contexts recur within their own
tasks alone, or equal decisions of several tasks were merged, at one more sighting. Where several teachers
were learned from, each has memories of its own. What this file does not know: states that merely resemble
one another.
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
        reliability: "votes/all" (each at most MAX_COUNT), and the teacher where there are several -> measured
            agreement of the next decision.
    """

    decisions: dict[str, tuple[list[dict[str, Any]], int, int]] = {}
    reliability: dict[str, float] = {}

    @classmethod
    def build(cls, decisions: Sequence[Decision]) -> ContextMemory:
        """Remember the contexts of decisions whose arguments are known; one of weight w was seen w times.

        Where decisions were merged into one of a greater weight, nobody knows of how many tasks they were: then
        reliability is measured on one more sighting.
        """
        seen: dict[tuple[str, str], list[tuple[bytes, Decision]]] = defaultdict(list)
        for decision, teacher in zip(decisions, teachers_apart(decisions), strict=True):
            text = content_of(decision.calls, decision.state.tools)
            if text is not None:
                seen[decision.state.key, teacher].append((text, decision))
        kept, merged = {}, any(decision.weight > 1.0 for decision in decisions)
        again, elsewhere = (defaultdict[str, list[int]](lambda: [0, 0]) for _ in range(2))
        for (state, teacher), entries in seen.items():
            by_task = _votes_by_task(entries)
            votes = sum(by_task.values(), Counter[bytes]())
            text, count = _most(votes)
            calls = next(decision.calls for said, decision in entries if said == text)
            kept[_of(state, teacher)] = ([msgspec.to_builtins(call) for call in calls], count, votes.total())
            for mine in () if merged else by_task.values():
                _foretell(mine, votes - mine, elsewhere, teacher)
            for said, times in votes.items():
                _foretell(Counter({said: times}), votes - Counter([said]), again, teacher)
        measured = {bucket: counts for hits in (again, elsewhere) for bucket, counts in hits.items() if counts[1] >= 5}
        return cls(kept, {bucket: (right + 0.5) / (n + 1.0) for bucket, (right, n) in measured.items()})

    def recall(self, state: State, teacher: str = "") -> Proposal | None:
        """What this teacher did, or `None` if the state is new or its memory of unknown reliability."""
        entry = self.decisions.get(_of(state.key, teacher)) if self.decisions else None
        if entry is None:
            return None
        calls, votes, total = entry
        # Contexts seen n times were measured on fewer: the most frequent ones have no bucket of their own.
        buckets = (_bucket(votes, total, teacher), _bucket(votes - 1, total - 1, teacher))
        confidence = next((self.reliability[bucket] for bucket in buckets if bucket in self.reliability), None)
        if confidence is None:
            return None
        tools = {tool.name: tool for tool in state.tools}
        found = tuple(ToolCall(call["name"], call["arguments"]) for call in calls)
        if not all(call.name in tools and is_valid(tools[call.name], call.arguments or {}) for call in found):
            return None
        return Proposal(found, confidence, source="cache")


def _of(name: str, teacher: str) -> str:
    return f"{name} {teacher}" if teacher else name


def _votes_by_task(entries: Sequence[tuple[bytes, Decision]]) -> dict[str, Counter[bytes]]:
    votes: dict[str, Counter[bytes]] = defaultdict(Counter)
    for said, decision in entries:
        votes[decision.task][said] += max(1, round(decision.weight))
    return votes


def _most(votes: Counter[bytes]) -> tuple[bytes, int]:
    return min(votes.items(), key=lambda item: (-item[1], item[0]))


def _foretell(mine: Counter[bytes], others: Counter[bytes], hits: dict[str, list[int]], teacher: str) -> None:
    """Count how many of these sightings the others would have foretold."""
    if not others:
        return
    best, majority = _most(others)
    bucket = hits[_bucket(majority, others.total(), teacher)]
    bucket[0] += mine[best]
    bucket[1] += mine.total()


def _bucket(votes: int, total: int, teacher: str) -> str:
    return _of(f"{min(votes, MAX_COUNT)}/{min(total, MAX_COUNT)}", teacher)


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
