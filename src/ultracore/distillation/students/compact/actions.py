"""Ranking the actions: which of the tools offered now, or a text reply?

Every action is described by the same features whatever its name (what linear models, n-grams and
intents say of it, whether its arguments are at hand, how often it was called), so that tools may come
and go. What this file does not know: argument values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.availability import AVAILABILITY_FEATURES, availability
from ultracore.distillation.students.compact.candidates import Candidates, packed
from ultracore.distillation.students.compact.forest import Forest
from ultracore.distillation.students.compact.matching import OVERLAPS
from ultracore.distillation.students.compact.prompts import Prompts
from ultracore.distillation.students.compact.relatives import Relative
from ultracore.distillation.students.compact.sources import Learned
from ultracore.distillation.students.compact.sparse import CompiledEncoder, Linear, Vector, document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import REPLY

__all__ = [
    "ACTION_FEATURES",
    "ACTION_FEATURES_BEFORE_BAYES",
    "ACTION_FEATURES_BEFORE_FOREST",
    "ACTION_FEATURES_BEFORE_RELATIVES",
    "OTHER",
    "ActionEvidence",
    "Ngrams",
    "action_rows",
    "shortlist",
]

Floats = NDArray[np.float32]

MAX_ACTIONS = 40
"""Actions ranked in full; of more tools, those that the linear model and the descriptions favour."""

OTHER = ""
"""The class of all actions that a linear model has hardly or never seen."""

LEAST = 1e-4
"""Of the probability of an action."""

_STATE = 16
_FOREST = 3
ACTION_FEATURES_BEFORE_FOREST = 31 + AVAILABILITY_FEATURES + _STATE
ACTION_FEATURES_BEFORE_RELATIVES = ACTION_FEATURES_BEFORE_FOREST + _FOREST
ACTION_FEATURES_BEFORE_BAYES = ACTION_FEATURES_BEFORE_RELATIVES + 1
ACTION_FEATURES = ACTION_FEATURES_BEFORE_BAYES + 2


class Ngrams(msgspec.Struct):
    """What followed the last one, two and three actions.

    Attributes:
        counts: Context (its length, then the actions) -> next action -> times.
    """

    counts: dict[str, dict[str, int]] = {}

    def add(self, actions: Sequence[str], chosen: str) -> None:
        """Count one decision."""
        for length in (1, 2, 3):
            followers = self.counts.setdefault(_context(actions, length), {})
            followers[chosen] = followers.get(chosen, 0) + 1

    def after(self, actions: Sequence[str]) -> list[tuple[dict[str, int], int]]:
        """What followed the last one, two and three actions, each with the sum of the counts."""
        found = [self.counts.get(_context(actions, length), {}) for length in (1, 2, 3)]
        return [(followers, sum(followers.values())) for followers in found]


def _share(followers: Mapping[str, int], total: int, chosen: str, prior: float) -> float:
    """Smoothed probability of an action among those that followed."""
    return (followers.get(chosen, 0) + 0.5 * prior) / (total + 0.5) if total else prior


def _context(actions: Sequence[str], length: int) -> str:
    return f"{length}:" + ">".join(["^", *actions][-length:])


class ActionEvidence(NamedTuple):
    """Everything that speaks for or against an action, fitted on some decisions.

    Attributes:
        encoder: Documents to sparse rows.
        structure: Linear model of the action on structure alone.
        words: Linear model of the action on structure and words.
        intents: For each action, whether it happens later in the episode, from the user's words.
        ngrams: Action n-grams.
        learned: What is known about arguments; it tells whether a tool's arguments are at hand.
        prompts: Which lines of a system prompt are policy, and which are about the conversation.
        forest: Trees that vote for the action; none where they were not found to help.
        bayes: Naive Bayes of the action on words; none in a student of an earlier release.
    """

    encoder: CompiledEncoder
    structure: Linear
    words: Linear
    intents: Linear
    ngrams: Ngrams
    learned: Learned
    prompts: Prompts = Prompts()
    forest: Forest | None = None
    bayes: Linear | None = None


def shortlist(transcript: Transcript, words: Mapping[str, float], fit: Mapping[str, float]) -> list[str]:
    """The actions to rank: a reply, and the tools offered, the likelier ones first if there are many."""
    names = list(transcript.tools)
    if len(names) >= MAX_ACTIONS:
        names.sort(key=lambda name: (-words.get(name, LEAST) - 0.2 * fit[name], name))
        names = names[: MAX_ACTIONS - 1]
    return [REPLY, *names]


def action_rows(
    transcript: Transcript, pool: Candidates, row: Vector, evidence: ActionEvidence
) -> tuple[list[str], Floats]:
    """The actions to choose from and their description.

    Args:
        transcript: The conversation.
        pool: Its candidate values.
        row: Its sparse features under `evidence.encoder`.
        evidence: What was fitted.

    Returns:
        The actions, and [actions, ACTION_FEATURES] float32.
    """
    known = _known_as(transcript, evidence)
    read = transcript.renamed({name: relative.key for name, relative in known.items()}) if known else transcript
    row = evidence.encoder.encode(document_of(read)) if read.actions != transcript.actions else row
    words, structure = (_shared(model.softmax(row), transcript) for model in (evidence.words, evidence.structure))
    for name, relative in known.items():
        for shares in (words, structure):
            shares[name] = relative.likeness * shares.get(relative.key, 0.0)
    intents = evidence.intents.sigmoid(row) if evidence.intents.classes else {}
    intents |= {name: intents[relative.key] for name, relative in known.items() if relative.key in intents}
    match = evidence.encoder.matcher.match(transcript)
    fit = match.similarities
    names = shortlist(transcript, words, fit)
    ranked = sorted(fit.values())[-2:]
    state = _state_features(transcript)
    used = {name: transcript.actions.count(name) for name in names}
    pending = sorted((intents.get(name, 0.0), name) for name in names if not used[name] and name != REPLY)[-2:]
    described = [transcript.tools[name] for name in names[1:]]
    at_hand = [[-1.0] * AVAILABILITY_FEATURES, *availability(described, pool, evidence.learned.knowledge).tolist()]
    votes = _vote_features(names, transcript, row, evidence.forest)
    odds = _odds_features([known[name].key if name in known else name for name in names], row, evidence.bayes)
    best, after = math.log(max(words.values(), default=1.0) + 1e-5), evidence.ngrams.after(read.actions)
    flat: list[float] = []
    learned = evidence.words.known
    for place, name in enumerate(names):
        other = next((share for share, rival in reversed(pending) if rival != name), 0.0)
        flat += (
            *_model_features(name, known[name].key if name in known else name, words, structure, best, after),
            intents.get(name, 0.0),
            intents.get(name, 0.0) * (used[name] == 0),
            other,
            *_history_features(name, used[name], transcript),
            *((0.0,) * OVERLAPS if name == REPLY else match.overlaps(name)),
            *_match_features(fit.get(name, 0.0), ranked),
            *at_hand[place],
            *state,
            *votes[place],
            known[name].likeness if name in known else float(name in learned),
            *odds[place],
        )
    return names, packed(flat, len(flat) // len(names))


def _known_as(t: Transcript, evidence: ActionEvidence) -> dict[str, Relative]:
    """Of the tools that the linear models do not know, those that do what another one does that they know."""
    learned, knowledge = evidence.words.known, evidence.learned.knowledge
    found = {}
    for name, tool in t.tools.items():
        if name not in learned:
            relative = next((r for r in knowledge.relatives_of(tool) if r.key in learned), None)
            if relative is not None:
                found[name] = relative
    return found


def _shared(shares: dict[str, float], t: Transcript) -> dict[str, float]:
    """Probabilities in which the tools offered that the model does not know share what it keeps for others."""
    unknown = sum(name not in shares for name in t.tools)
    shares[OTHER] = max(shares.get(OTHER, 0.0) / max(unknown, 1), LEAST)
    return shares


def _model_features(
    name: str,
    known_as: str,
    words: Mapping[str, float],
    structure: Mapping[str, float],
    best: float,
    after: Sequence[tuple[Mapping[str, int], int]],
) -> list[float]:
    unknown = (LEAST, LEAST) if name == REPLY else (words[OTHER], structure[OTHER])
    p_words, p_structure = words.get(name, unknown[0]), structure.get(name, unknown[1])
    log_words = math.log(p_words + 1e-5)
    return [
        log_words,
        math.log(p_structure + 1e-5),
        log_words - best,
        p_words,
        *[_share(followers, total, known_as, p_structure) for followers, total in after],
        float(known_as == name and name in words),
    ]


def _vote_features(names: Sequence[str], t: Transcript, row: Vector, forest: Forest | None) -> list[list[float]]:
    """How many of the trees vote for each action, also against the action with the most votes."""
    if forest is None:
        return [[0.0] * _FOREST] * len(names)
    votes = _shared(forest.shares(row), t)
    own = [votes.get(name, LEAST if name == REPLY else votes[OTHER]) for name in names]
    logs = [math.log(share + 0.01) for share in own]
    return [[share, log, log - max(logs)] for share, log in zip(own, logs, strict=True)]


def _odds_features(known_as: Sequence[str], row: Vector, bayes: Linear | None) -> list[tuple[float, float]]:
    """What naive Bayes says of each action, also against the likeliest one."""
    if bayes is None:
        return [(0.0, 0.0)] * len(known_as)
    odds = bayes.logits(Vector(row.columns, np.ones_like(row.amounts)))
    known, best = dict(zip(bayes.classes, odds.tolist(), strict=True)), float(odds.max())
    unknown = known.get(OTHER, float(odds.min()))
    own = [known.get(name, unknown) for name in known_as]
    return [(mine, mine - best) for mine in own]


def _history_features(name: str, used: int, t: Transcript) -> list[float]:
    if not used and name != REPLY:
        return [0.0] * 8
    recent = t.since_user
    return [
        float(name == REPLY),
        min(used, 5) / 5,
        min(recent.count(name), 5) / 5,
        float(bool(recent) and recent[0] == name),
        float(len(recent) > 1 and recent[1] == name),
        float(t.last.role == "user" and name == REPLY),
        float(t.last.role == "tool" and name == REPLY),
        float(t.last.role == "assistant" and name == REPLY),
    ]


def _match_features(fit: float, ranked: Sequence[float]) -> list[float]:
    """How well a description fits, and by how much better than the best of the others (a reply: than all)."""
    best = ranked[-1] if ranked else 0.0
    rival = best if fit < best else ranked[0] if len(ranked) > 1 else 0.0
    return [fit, fit - rival, float(fit >= best > 0.0)]


def _state_features(t: Transcript) -> list[float]:
    unused = [leaf for turn in t.turns if turn.role == "user" for leaf in turn.leaves if leaf.path == "user:code"]
    fresh = {str(leaf.value) for leaf in unused} - set(t.used)
    last_fresh = {value for value in fresh if value in t.last_user_text}
    return [
        min(t.actions.count("U"), 12) / 12,
        min(len(t.turns), 40) / 40,
        min(len(t.since_user), 10) / 10,
        min(len(t.calls), 20) / 20,
        float(t.last.role == "user"),
        float(t.last.role == "tool"),
        float(t.last.role == "context"),
        math.log1p(len(t.last.text)) / 8,
        math.log1p(len(t.last_user_text)) / 8,
        math.log1p(len(t.last_reply)) / 8,
        min(t.last_user_text.count("?"), 4) / 4,
        min(t.last_reply.count("?"), 4) / 4,
        min(len(fresh), 5) / 5,
        min(len(last_fresh), 5) / 5,
        min(len(t.tools), 50) / 50,
        float(isinstance(t.last.data, dict | list)),
    ]
