"""What is the same each time that a recurring request gets the same call for an answer: its events, as patterns.

Kept with the request that `serve.recent` remembers, and gone when that goes. What this file does not know: what
the events hold, and when requests count as the same.
"""

from __future__ import annotations

from ultracore.distillation.events.base import Event
from ultracore.distillation.events.pattern import Pattern
from ultracore.distillation.serve.gate import Send

__all__ = ["Recurring"]


class Recurring:
    """The events of exchanges that repeat each other.

    Args:
        verdict: Of the first.
        names: What else it went by, and the others must.
        decision: Its decision.
        outcome: Its outcome, as if it had ended well.

    Attributes:
        decision: The pattern of their decisions.
        outcome: That of their outcomes, where they end well.
    """

    def __init__(self, verdict: Send, names: tuple[str, ...], decision: Event, outcome: Event) -> None:
        self.decision = Pattern(decision, ("label_probability", "serving"))
        self.outcome = Pattern(outcome, ("decision_id", "execution_time_ms"))
        self._verdict = verdict
        self._names = names

    def fits(self, verdict: Send, names: tuple[str, ...]) -> bool:
        """Whether an exchange over the same request repeats the first."""
        return verdict is self._verdict and names == self._names
