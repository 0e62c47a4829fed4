"""Drafts: the few likeliest actions with their arguments filled, described as whole calls.

What this file does not know: which draft to propose, and whether to send it (`student`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.actions import ActionEvidence, action_rows
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.filling import Filled, fill_all
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.slots import ABSENT, Slot, assemble
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.tables import lay_out
from ultracore.distillation.students.compact.transcript import Transcript, key_of, scalars
from ultracore.distillation.tools import REPLY, ToolCall

__all__ = ["DRAFT_FEATURES", "MAX_DRAFTS", "Draft", "draft_calls"]

Floats = NDArray[np.float32]

MAX_DRAFTS = 4
"""On tau-bench airline (out of fold) the right action was drafted in 95 % of decisions; other sets were not counted."""

LEAST_SHARE = 0.15
"""Actions less likely than this are not drafted. Chosen on one fold each of tau-bench airline, tau2 telecom and SGD
(1,686 decisions): against .05 a third, a third and a fifth of the drafts are saved, and 14 proposals differ, two for
the better and two for the worse; of 1,144 decisions of telecom-solo and MetaTool three differ, none for better or
worse. At .3 airline lost six calls."""

LACKING = 0.5
"""Nats that a draft without a required argument is less likely; see `train.layers.TRUST`."""

DRAFT_FEATURES = 26


class Draft(NamedTuple):
    """An action with its arguments.

    Attributes:
        calls: The call; none for a text reply.
        missing: Required slots without a value.
        features: [DRAFT_FEATURES] float32, for the rankers of whole calls.
        share: Probability of the action and of its arguments, by their rankers.
        likelihood: Log probability of the action and of what the ranker decided of its arguments; less by `LACKING`
            where required ones were not found.
    """

    calls: tuple[ToolCall, ...]
    missing: tuple[str, ...]
    features: Floats
    share: float
    likelihood: float = 0.0


def draft_calls(
    sources: Sources,
    evidence: ActionEvidence,
    action_ranker: Ranker,
    argument_ranker: Ranker | None,
    most: int = MAX_DRAFTS,
    least: float = LEAST_SHARE,
    described: tuple[list[str], Floats] | None = None,
) -> list[Draft]:
    """The likeliest actions, likeliest first, with arguments filled: one, then up to `most` from `least` on.

    `described` is what `action_rows` gives, where it is known already.
    """
    pool, transcript = sources.pool, sources.pool.transcript
    names, rows = described if described is not None else action_rows(transcript, pool, sources.row, evidence)
    scores = action_ranker.scores(rows)
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")[:MAX_DRAFTS]
    entropy = float(-(shares * np.log(shares + 1e-9)).sum())
    reply = float(shares[names.index(REPLY)])
    chosen = [place for rank, place in enumerate(order[:most]) if not rank or shares[place] >= least]
    tools = [transcript.tools.get(names[place]) for place in chosen]
    wanted = [sources.knowledge.slots_of(tool) if tool is not None else () for tool in tools]
    every = [slot for slots in wanted for slot in slots] if argument_ranker is not None else []
    asked = {slot.key: slot for slot in every if slot.key not in sources.knowledge.free_text}
    lay_out(asked.values(), sources)
    drafts = []
    for rank, (place, slots) in enumerate(zip(chosen, wanted, strict=True)):
        share = float(shares[place])
        filled = fill_all(slots, sources, argument_ranker)
        missing = tuple(slot.key for slot, got in filled if slot.required and got.value is ABSENT)
        arguments = assemble([(slot, got.value) for slot, got in filled])
        calls = () if names[place] == REPLY else (ToolCall(names[place], arguments),)
        shape = [share, float(shares[order[0]]), float(shares[order[1]]) if len(order) > 1 else 0.0, rank]
        action = _action_features(names[place], shape, entropy, reply, transcript, evidence)
        given = _argument_features(filled, missing, pool)
        features = np.array([*action, *given, *_repetition(calls, transcript)], np.float32)
        decided = [got.confidence for slot, got in filled if slot.key in asked and slot.key not in missing]
        likelihood = action[0] + _log_product(decided) - LACKING * bool(missing)
        drafts.append(Draft(calls, missing, features, share * _product(filled), likelihood))
    return drafts


def _log_product(confidences: Sequence[float]) -> float:
    return sum(math.log(max(confidence, 1e-6)) for confidence in confidences)


def _product(filled: list[tuple[Slot, Filled]]) -> float:
    return math.prod(got.confidence for _, got in filled)


def _action_features(
    name: str, shape: list[float], entropy: float, reply: float, t: Transcript, evidence: ActionEvidence
) -> list[float]:
    share, best, second, rank = shape
    return [
        math.log(share + 1e-6),
        math.log(share + 1e-6) - math.log(best + 1e-6),
        math.log(share + 1e-6) - math.log(second + 1e-6),
        float(rank == 0),
        float(rank),
        entropy,
        reply,
        float(name == REPLY),
        float(name in evidence.words.known),
        min(t.actions.count(name), 5) / 5,
        min(len(t.calls), 20) / 20,
        min(len(t.since_user), 8) / 8,
        float(bool(t.since_user) and t.since_user[0] == name),
        float(t.last.role == "user"),
        float(t.last.role == "tool"),
    ]


def _argument_features(filled: list[tuple[Slot, Filled]], missing: tuple[str, ...], pool: Candidates) -> list[float]:
    sure = [got.confidence for slot, got in filled if slot.key not in missing]
    return [
        _log_product(sure),
        math.log(max(min(sure, default=1.0), 1e-6)),
        float(len(missing)),
        min(len(filled), 10) / 10,
        sum(got.value is not ABSENT for _, got in filled) / 10,
        sum(slot.kind != "scalar" for slot, _ in filled) / 4,
        math.log1p(len(pool)) / 6,
    ]


def _repetition(calls: tuple[ToolCall, ...], t: Transcript) -> list[float]:
    """Has this very call been made, and since the user spoke; have its values been given to the tool before?"""
    if not calls:
        return [0.0] * 4
    call = calls[0]
    text = key_of(call.arguments or {})
    mine = {key_of(value) for _, value in scalars(call.arguments or {})}
    before = [past for past in t.calls if past.name == call.name]
    same = sum(key_of(past.arguments or {}) == text for past in before)
    given = {key_of(value) for past in before for _, value in scalars(past.arguments or {})}
    newest = bool(t.calls) and t.calls[-1].name == call.name and key_of(t.calls[-1].arguments or {}) == text
    return [min(same, 3) / 3, float(newest), len(mine & given) / max(len(mine), 1), float(bool(mine - given))]
