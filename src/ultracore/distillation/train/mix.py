"""Has the traffic changed? The mix of actions and of words, now and when the model was certified.

The score is the Jensen-Shannon distance (base 2, 0..1), less what chance alone would give for
samples of these sizes, which a permutation of whole episodes tells. So a small sample scores near
zero instead of high, and alarms only if fewer than 1 % of the permutations are as far apart. What
this file does not know: whether the student is any worse for it.

Source: Lin, "Divergence measures based on the Shannon entropy", 1991, equation 5.1.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.decisions import Decision, Message, text_of
from ultracore.distillation.splits import units_of
from ultracore.distillation.tools import canonical_json

__all__ = ["Drift", "Mix", "UnitMix", "drift_between", "mix_of"]

BUCKETS = 256
PERMUTATIONS = 499
RISK = 0.01
MAX_UNITS = 1000
"""Episodes kept of each side; the noise of 1,000 is far below the alarm level."""

_WORD = re.compile(r"[^\W\d_]{2,}")


class UnitMix(msgspec.Struct, frozen=True):
    """Counts of one independent unit (task or episode).

    Attributes:
        actions: How often each action was chosen.
        words: How many decisions showed a word of each hash bucket, in what the user said last.
    """

    actions: dict[str, int]
    words: dict[str, int]


class Mix(msgspec.Struct, frozen=True):
    """The mix of a sample of decisions.

    Attributes:
        units: One entry for each independent unit.
        decisions: How many decisions they hold.
    """

    units: list[UnitMix]
    decisions: int


class Drift(NamedTuple):
    """How far two mixes are apart.

    Attributes:
        score: The larger of both views' distances beyond chance (0..1).
        view: `actions` or `words`, whichever is further apart.
        p_value: Share of the permutations at least as far apart, in that view.
        significant: Whether chance is ruled out at 1 %, both views together.
    """

    score: float
    view: str
    p_value: float
    significant: bool


def mix_of(decisions: Sequence[Decision]) -> Mix:
    """Count actions and words, unit by unit; of more than `MAX_UNITS` units a fixed sample is kept."""
    units = units_of(decisions)
    kept = set(sorted(set(units), key=_draw)[:MAX_UNITS])
    actions: dict[str, Counter[str]] = {unit: Counter() for unit in sorted(kept)}
    words: dict[str, Counter[str]] = {unit: Counter() for unit in sorted(kept)}
    for decision, unit in zip(decisions, units, strict=True):
        if unit in kept:
            actions[unit][decision.action] += 1
            words[unit].update(_buckets(decision))
    mixed = [UnitMix(dict(actions[unit]), dict(words[unit])) for unit in actions]
    return Mix(mixed, sum(sum(unit.actions.values()) for unit in mixed))


def drift_between(reference: Mix, recent: Mix, seed: int = 0) -> Drift:
    """Compare two mixes.

    Args:
        reference: What the model was certified on.
        recent: What it meets now.
        seed: Of the permutations.

    Example:
        >>> old, new = (Mix([UnitMix({tool: 1}, {})] * 40, 40) for tool in ("track", "refund"))
        >>> drift_between(old, old).significant, drift_between(old, new).significant
        (False, True)
    """
    if not reference.units or not recent.units:
        return Drift(0.0, "actions", 1.0, significant=False)
    views = {
        "actions": _beyond_chance([u.actions for u in reference.units], [u.actions for u in recent.units], seed),
        "words": _beyond_chance([u.words for u in reference.units], [u.words for u in recent.units], seed),
    }
    view = max(views, key=lambda name: views[name][0])
    score, p_value = views[view]
    return Drift(score, view, p_value, significant=p_value <= RISK / len(views))


def _beyond_chance(
    reference: Sequence[dict[str, int]], recent: Sequence[dict[str, int]], seed: int
) -> tuple[float, float]:
    counts = _matrix([*reference, *recent])
    chosen = np.zeros((1 + PERMUTATIONS, len(counts)))
    chosen[0, len(reference) :] = 1.0
    rng = np.random.default_rng(seed)
    for row in range(1, len(chosen)):
        chosen[row] = rng.permutation(chosen[0])
    found = _divergence((1.0 - chosen) @ counts, chosen @ counts)
    excess = max(0.0, float(found[0] - found[1:].mean()))
    return float(np.sqrt(excess)), float((found >= found[0] - 1e-12).mean())


def _matrix(units: Sequence[dict[str, int]]) -> NDArray[np.float64]:
    columns = {name: column for column, name in enumerate(sorted({name for unit in units for name in unit}))}
    out = np.zeros((len(units), max(1, len(columns))))
    for row, unit in enumerate(units):
        for name, count in unit.items():
            out[row, columns[name]] = count
    return out


def _divergence(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence in bits of each row's pair of count vectors; 0 where one side is empty."""
    totals = left.sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True)
    p, q = left / np.maximum(totals[0], 1.0), right / np.maximum(totals[1], 1.0)
    middle = (p + q) / 2.0
    found = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    return np.where((totals[0] * totals[1])[:, 0] > 0.0, found, 0.0)


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.where(p > 0.0, p, 1.0) / np.where(p > 0.0, q, 1.0)
    return np.asarray((p * np.log2(ratio)).sum(axis=1))


def _buckets(decision: Decision) -> set[str]:
    said = next((m for m in reversed(decision.state.messages) if m.get("role") in ("user", "context")), None)
    words = {word.lower() for word in _WORD.findall(_said(said))} if said else set()
    return {str(int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest()) % BUCKETS) for word in words}


def _said(message: Message) -> str:
    if message.get("role") == "context":
        return canonical_json(message.get("content")).decode()
    return text_of(message)


def _draw(unit: str) -> bytes:
    return hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest()
