"""Recent decisions beside those that the deployed model was certified on, or met first, and what the detectors say.

A window is `WINDOW` decisions; it is compared when it is full, or after a day with at least `LEAST` of them, so
that no decision is looked at often and false alarms stay rare. What this file does not know: how samples compare
(`drift`), and what follows from an alarm.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, Event, ModelEvaluatedEvent
from ultracore.distillation.students.mix import Mix, mix_of
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.watch.drift import THRESHOLD, Drift, compare, drift_between, drift_of_counts
from ultracore.distillation.watch.permutations import Excess, beyond_chance

__all__ = ["WINDOW", "Traffic", "reference_of"]

WINDOW = 1000
LEAST = 200
DAY = timedelta(days=1)
MAX_REPEATED = 600
"""Labelled decisions in a context that occurs again, of each window, that are compared pair by pair."""

LEAST_PAIRS = 50
UNKNOWN_OFFERS = ("schema_changed", "unknown_tool")


class Seen(msgspec.Struct):
    """A decision that passed.

    Attributes:
        decision: Its state and calls.
        answered: Why the teacher answered, `student` if it did not, "" where no gateway was asked.
        label: Fingerprint of the teacher's calls, `None` where they are not known.
        position: In the log.
    """

    decision: Decision
    answered: str
    label: str | None
    position: int


class Traffic:
    """The windows of one deployed model; begin a new one with each deployment.

    Args:
        threshold: Score above which a detector alarms.
        seed: Of the permutations.

    Attributes:
        found: What the detectors said last.
        window: Between which positions of the log those decisions lie.
    """

    types = (AgentDecisionEvent.event_type, AuditRecordedEvent.event_type)

    def __init__(self, threshold: float = THRESHOLD, seed: int = 0) -> None:
        self.found: list[Drift] = []
        self.window = (0, 0)
        self._threshold = threshold
        self._seed = seed
        self._first: list[Seen] = []
        self._recent: deque[Seen] = deque(maxlen=WINDOW)
        self._unlabelled: dict[str, Seen] = {}
        self._new = 0
        self._compared: datetime | None = None

    @property
    def first_is_full(self) -> bool:
        """Whether the decisions right after the deployment are known."""
        return len(self._first) >= WINDOW

    def apply(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, AgentDecisionEvent) and event.origin is None:  # imported traces are of another time
            self._decided(event)
        elif isinstance(event, AuditRecordedEvent) and event.agrees is not None:
            seen = self._unlabelled.pop(event.decision_id, None)
            if seen is not None:
                seen.label = _label(event.teacher_calls)

    def due(self, now: datetime) -> bool:
        """Whether there is enough that is new."""
        if self._new >= WINDOW:
            return True
        waited = self._compared is None or abs(now - self._compared) >= DAY  # also where the clock was set back
        return self._new >= LEAST and waited

    def compare(self, now: datetime, reference: Mix | None) -> list[Drift]:
        """Ask every detector, and begin a new window.

        Args:
            now: When the next day begins to count.
            reference: What the model was certified on; the first decisions after its deployment by default.
        """
        recent = list(self._recent)
        self._new, self._compared = 0, now
        self.window = (recent[0].position, recent[-1].position) if recent else (0, 0)
        then = reference or mix_of([seen.decision for seen in self._first])
        found = drift_between(
            then, mix_of([seen.decision for seen in recent]), seed=self._seed, threshold=self._threshold
        )
        found += self._escalations(recent)
        found += self._teacher(recent)
        found += self._unknown_offers(recent)
        self.found = found
        return found

    def _decided(self, event: AgentDecisionEvent) -> None:
        teacher = event.source == "teacher"
        calls = event.tool_calls if event.tool_calls is not None or event.tool_selected else []
        try:
            decision = Decision.from_row(_row(event))
        except DataError:
            return  # nobody can learn from it either
        reason = (event.serving or {}).get("reason")
        answered = "" if event.serving is None else str(reason or "student")
        label = _label(calls) if teacher and calls is not None else None
        seen = Seen(decision, answered, label, event.metadata.position or 0)
        if not teacher:
            self._unlabelled[event.metadata.event_id] = seen
            if len(self._unlabelled) > 4 * WINDOW:  # most are never audited
                self._unlabelled.pop(next(iter(self._unlabelled)))
        if not self.first_is_full:
            self._first.append(seen)
        else:
            self._recent.append(seen)
            self._new += 1

    def _unknown_offers(self, recent: Sequence[Seen]) -> list[Drift]:
        """How much of the traffic a new tool or a changed definition sends to the teacher: a fact, no estimate."""
        asked = [one for one in recent if one.answered]
        if not asked:
            return []
        share = sum(one.answered in UNKNOWN_OFFERS for one in asked) / len(asked)
        return [compare("schemas", Excess(share, 0.0), (0, len(asked)), threshold=self._threshold)]

    def _escalations(self, recent: Sequence[Seen]) -> list[Drift]:
        then, now = _by_episode(self._first), _by_episode(recent)
        if not then or not now:
            return []
        return [drift_of_counts("escalations", then, now, seed=self._seed, threshold=self._threshold)]

    def _teacher(self, recent: Sequence[Seen]) -> list[Drift]:
        """Does the teacher decide in the contexts of then as it did then, as far as it agrees with itself at all?"""
        rng = np.random.default_rng(self._seed)
        then, now = (_repeated(side, rng) for side in _sharing(self._first, recent))
        contexts, labels = _numbers([*then[0], *now[0]]), _numbers([*then[1], *now[1]])
        same = (contexts[:, None] == contexts[None, :]).astype(np.float64)
        differ = same * (labels[:, None] != labels[None, :])
        pairs = float(same[: len(then[0]), len(then[0]) :].sum())
        if pairs < LEAST_PAIRS:
            return []

        def disagreement(chosen: NDArray[np.float64]) -> NDArray[np.float64]:
            across = ((chosen @ same) * (1.0 - chosen)).sum(axis=1)
            return np.asarray(((chosen @ differ) * (1.0 - chosen)).sum(axis=1) / np.maximum(across, 1.0))

        excess = beyond_chance(disagreement, len(then[0]), len(now[0]), self._seed)
        said = f"agrees with itself now: {_alike(same, differ, len(then[0])):.1%}, {pairs:.0f} pairs"
        sizes = len(then[0]), len(now[0])
        return [compare("teacher", excess, sizes, threshold=self._threshold, detail=said)]


def _alike(same: NDArray[np.float64], differ: NDArray[np.float64], first: int) -> float:
    """Share of the pairs of different recent decisions in one context that agree; 1 without any."""
    pairs = same[first:, first:].sum() - (len(same) - first)
    return float(1.0 - differ[first:, first:].sum() / max(1.0, pairs))


def _row(event: AgentDecisionEvent) -> Mapping[str, Any]:
    names = ("context", "tools_available", "tool_selected", "tool_parameters", "tool_calls", "session_id", "task")
    return {name: getattr(event, name) for name in names} | {"event_id": event.metadata.event_id}


def _label(calls: Iterable[Mapping[str, Any]]) -> str:
    """Equal for the same calls, whatever their order."""
    return fingerprint(sorted(fingerprint([call.get("name"), call.get("arguments")]) for call in calls))


def _by_episode(seen: Sequence[Seen]) -> list[Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for one in seen:
        if one.answered:
            counts.setdefault(one.decision.episode, Counter())[one.answered] += 1
    return list(counts.values())


def _sharing(*sides: Sequence[Seen]) -> list[list[tuple[str, str]]]:
    """Context and label of each side's labelled decisions, in contexts that both sides met."""
    found = [[(one.decision.state.key, one.label) for one in side if one.label is not None] for side in sides]
    both = set.intersection(*({context for context, _ in side} for side in found))
    return [[(context, label) for context, label in side if context in both] for side in found]


def _repeated(side: Sequence[tuple[str, str]], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    kept = side
    if len(side) > MAX_REPEATED:
        kept = [side[k] for k in np.sort(rng.choice(len(side), MAX_REPEATED, replace=False))]
    return [context for context, _ in kept], [label for _, label in kept]


def _numbers(names: Sequence[str]) -> NDArray[np.intp]:
    return np.unique(np.array(names, dtype=str), return_inverse=True)[1] if names else np.zeros(0, dtype=np.intp)


def reference_of(events: Iterable[Event]) -> Mix | None:
    """What a model was certified on, from its `MODEL_EVALUATED` events; `None` where no release wrote it down."""
    found = None
    for event in events:
        if isinstance(event, ModelEvaluatedEvent) and "reference_mix" in event.metrics:
            found = msgspec.convert(event.metrics["reference_mix"], Mix)
    return found
