"""The mix of a sample of decisions: which actions, which words, which tools on offer, unit by unit.

It stands in the log beside each certificate, so that later traffic can be compared with what the model was
certified on. What this file does not know: how mixes compare (`watch.drift`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from ultracore.distillation.decisions import Decision, Message, text_of
from ultracore.distillation.splits import units_of
from ultracore.distillation.tools import canonical_json, fingerprint

__all__ = ["Mix", "UnitMix", "mix_of"]

BUCKETS = 256
MAX_UNITS = 1000
"""Episodes kept of a sample; the noise of 1,000 is far below the alarm level."""

_WORD = re.compile(r"[^\W\d_]{2,}")


class UnitMix(msgspec.Struct, frozen=True):
    """Counts of one independent unit (task or episode).

    Attributes:
        actions: How often each action was chosen.
        words: How many decisions showed a word of each hash bucket, in what the user said last.
        offers: How often each set of tools was offered, by its fingerprint; empty in mixes of an earlier release.
    """

    actions: dict[str, int]
    words: dict[str, int]
    offers: dict[str, int] = {}


class Mix(msgspec.Struct, frozen=True):
    """The mix of a sample of decisions.

    Attributes:
        units: One entry for each independent unit.
        decisions: How many decisions they hold.
    """

    units: list[UnitMix]
    decisions: int


def mix_of(decisions: Sequence[Decision]) -> Mix:
    """Count actions, words and offers, unit by unit; of more than `MAX_UNITS` units a fixed sample is kept."""
    units = units_of(decisions)
    kept = set(sorted(set(units), key=_draw)[:MAX_UNITS])
    counts = {unit: (Counter[str](), Counter[str](), Counter[str]()) for unit in sorted(kept)}
    for decision, unit in zip(decisions, units, strict=True):
        if unit in kept:
            actions, words, offers = counts[unit]
            actions[decision.action] += 1
            words.update(_buckets(decision))
            offers[fingerprint(sorted({tool.name for tool in decision.state.tools}))] += 1
    mixed = [UnitMix(*map(dict, counted)) for counted in counts.values()]
    return Mix(mixed, sum(sum(unit.actions.values()) for unit in mixed))


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
