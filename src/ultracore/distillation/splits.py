"""Decisions that belong together stay together: splits and folds by task, and a check for leaks.

Decisions of one task or of one episode are dependent, so they are the unit of every split. What
goes where depends on the seed and on the names of the tasks alone, neither on the order of the
rows nor on the process. What this file does not know: what is trained or tested on the parts.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError, DataError

__all__ = ["LeakageReport", "check_leakage", "folds_by_task", "parts_by_task", "split_by_task", "units_of"]

Strata = Callable[[Decision], str]


class LeakageReport(NamedTuple):
    """What two sets of decisions have in common.

    Attributes:
        shared_tasks: Tasks on both sides, sorted.
        shared_episodes: Episodes on both sides, sorted.
        shared_states: Keys of the exact states on both sides, sorted. Different tasks may well meet
            in the same state ("hello"), so these are a figure to report, not a fault.
        test_share: Share of the test decisions whose exact state is also in the training set (0..1).
    """

    shared_tasks: tuple[str, ...]
    shared_episodes: tuple[str, ...]
    shared_states: tuple[str, ...]
    test_share: float

    @property
    def clean(self) -> bool:
        """Whether no task and no episode is on both sides."""
        return not self.shared_tasks and not self.shared_episodes


def units_of(decisions: Sequence[Decision]) -> list[str]:
    """Name of the independent unit of each decision: its task, merged with tasks that share an episode.

    Example:
        >>> from ultracore.distillation.decisions import State
        >>> def row(task, episode):
        ...     return Decision(state=State([], []), task=task, episode=episode)
        >>> units_of([row("a", "1"), row("b", "1"), row("c", "2")])
        ['a', 'a', 'c']
    """
    parent: dict[str, str] = {}
    first_of: dict[str, str] = {}
    for decision in decisions:
        parent.setdefault(decision.task, decision.task)
        other = first_of.setdefault(decision.episode, decision.task)
        low, high = sorted((_root(parent, decision.task), _root(parent, other)))
        parent[high] = low
    return [_root(parent, decision.task) for decision in decisions]


def split_by_task(
    decisions: Sequence[Decision],
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    *,
    strata: Strata | None = None,
) -> list[list[Decision]]:
    """Split into parts that share no task and no episode; each part keeps the order of the rows.

    Args:
        decisions: What to split.
        shares: Share of the *units* (not of the rows) of each part, all > 0; they sum to 1.
        seed: Another seed gives another split.
        strata: Label of a decision; units are spread evenly within each label (that of most of
            their decisions).

    Raises:
        ConfigurationError: The shares are not positive, or do not sum to 1.
        DataError: There are fewer units than parts.
    """
    part_of = parts_by_task(decisions, shares, seed, strata=strata)
    parts: list[list[Decision]] = [[] for _ in shares]
    for decision, part in zip(decisions, part_of, strict=True):
        parts[part].append(decision)
    return parts


def parts_by_task(
    decisions: Sequence[Decision], shares: Sequence[float], seed: int = 0, *, strata: Strata | None = None
) -> list[int]:
    """As `split_by_task`, but the number (from 0) of each decision's part."""
    if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigurationError(f"shares must be positive and sum to 1, not {tuple(shares)}")
    return _assign(decisions, shares, seed, strata)


def folds_by_task(decisions: Sequence[Decision], k: int, seed: int = 0, *, strata: Strata | None = None) -> list[int]:
    """Fold (0..k-1) of each decision, for cross-validation; no task or episode is in two folds.

    Raises:
        ConfigurationError: `k` is less than 2.
        DataError: There are fewer units than folds.
    """
    if k < 2:
        raise ConfigurationError(f"cross-validation needs at least 2 folds, not {k}")
    return _assign(decisions, [1 / k] * k, seed, strata)


def check_leakage(train: Iterable[Decision], test: Iterable[Decision]) -> LeakageReport:
    """What a training set and a test set share: tasks, episodes and exact states."""
    train, test = list(train), list(test)
    keys = [decision.state.key for decision in test]
    states = {decision.state.key for decision in train}.intersection(keys)
    return LeakageReport(
        shared_tasks=_shared([d.task for d in train], [d.task for d in test]),
        shared_episodes=_shared([d.episode for d in train], [d.episode for d in test]),
        shared_states=tuple(sorted(states)),
        test_share=sum(key in states for key in keys) / len(keys) if keys else 0.0,
    )


def _shared(train: Iterable[str], test: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(train).intersection(test)))


def _root(parent: dict[str, str], name: str) -> str:
    while parent[name] != name:
        parent[name] = name = parent[parent[name]]
    return name


def _assign(decisions: Sequence[Decision], shares: Sequence[float], seed: int, strata: Strata | None) -> list[int]:
    units = units_of(decisions)
    ordered = _shuffled(decisions, units, seed, strata)
    if len(ordered) < len(shares):
        raise DataError(
            f"{len(ordered)} independent task(s) cannot fill {len(shares)} parts; add traces of more tasks, "
            "or give the rows a 'session_id' or 'task' where they belong to different conversations"
        )
    part_of = dict(zip(ordered, _deal(len(ordered), shares), strict=True))
    return [part_of[unit] for unit in units]


def _shuffled(decisions: Sequence[Decision], units: Sequence[str], seed: int, strata: Strata | None) -> list[str]:
    """The units in an order that only the seed and their names decide, one stratum after the other."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for decision, unit in zip(decisions, units, strict=True):
        labels[unit][strata(decision) if strata else ""] += 1
    stratum = {unit: min(seen, key=lambda label: (-seen[label], label)) for unit, seen in labels.items()}
    return sorted(labels, key=lambda unit: (_draw(seed, stratum[unit]), stratum[unit], _draw(seed, unit), unit))


def _draw(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _deal(count: int, shares: Sequence[float]) -> list[int]:
    """Deal to the part that lags its share most: no run of units is more than about one off its shares."""
    dealt = [0] * len(shares)
    parts = []
    for done in range(count):
        empty = [part for part, size in enumerate(dealt) if not size]
        open_to = empty if count - done <= len(empty) else range(len(shares))
        part = max(open_to, key=lambda p: (shares[p] * (done + 1) - dealt[p], -p))
        dealt[part] += 1
        parts.append(part)
    return parts
