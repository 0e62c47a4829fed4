"""A session's figures, counted while it runs.

What this file does not know: the log. Durations come from a monotonic clock, so that setting the
wall clock does not change them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypedDict

__all__ = ["Session", "SessionStats", "SessionSummary"]


class SessionSummary(TypedDict):
    """What `end_session` returns."""

    session_id: str
    agent_id: str
    duration_seconds: float
    decision_count: int
    successful_decisions: int
    total_cost_usd: float


class SessionStats(SessionSummary):
    """What `get_session_stats` returns; an average of nothing is `None`."""

    average_confidence: float | None
    average_execution_time_ms: float | None


class Session:
    """One agent's session.

    Args:
        session_id: Its name.
        agent_id: Whose it is.
        timer: Seconds on a clock that never goes back.
        user_id: On whose behalf.
    """

    def __init__(self, session_id: str, agent_id: str, timer: Callable[[], float], user_id: str | None = None) -> None:
        self.session_id = session_id
        self.agent_id = agent_id
        self.user_id = user_id
        self.duration: float | None = None
        self._timer = timer
        self._started = timer()
        self._lock = threading.Lock()
        self._steps = 0
        self._decisions = 0
        self._successes = 0
        self._cost = 0.0
        self._confidences = _Mean()
        self._times = _Mean()

    def next_step(self) -> int:
        """Position of the next decision, from 0."""
        with self._lock:
            self._steps += 1
            return self._steps - 1

    def add_decision(self, confidence: float | None) -> None:
        """A decision is in the log."""
        with self._lock:
            self._decisions += 1
            if confidence is not None:
                self._confidences.add(confidence)

    def add_outcome(self, success: bool, execution_time_ms: float | None, cost_usd: float | None) -> None:
        """What came of a decision is in the log."""
        with self._lock:
            self._successes += bool(success)
            self._cost += cost_usd or 0.0
            if execution_time_ms is not None:
                self._times.add(execution_time_ms)

    def end(self) -> None:
        """Stop its clock."""
        self.duration = self._timer() - self._started

    def summary(self) -> SessionSummary:
        """Its figures so far."""
        with self._lock:
            return {
                "session_id": self.session_id,
                "agent_id": self.agent_id,
                "duration_seconds": self._timer() - self._started if self.duration is None else self.duration,
                "decision_count": self._decisions,
                "successful_decisions": self._successes,
                "total_cost_usd": self._cost,
            }

    def stats(self) -> SessionStats:
        """Its figures so far, averages included."""
        summary = self.summary()
        with self._lock:
            return {
                **summary,
                "average_confidence": self._confidences.value,
                "average_execution_time_ms": self._times.value,
            }


class _Mean:
    """Of values that are not kept: a logger remembers thousands of sessions."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._sum += value
        self._count += 1

    @property
    def value(self) -> float | None:
        return self._sum / self._count if self._count else None
