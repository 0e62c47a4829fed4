"""Filling a slot: gather its candidate values, describe each one, let the ranker choose.

Slots are filled in schema order; each choice is described to the next one (same message, shared ids).
Leaving an optional argument out, and ending a list, are candidates like any other. What this file
does not know: which tool to call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.slots import ABSENT, Slot, assemble, coerce
from ultracore.distillation.students.compact.text import shape_of, trigram_similarity, words_of
from ultracore.distillation.students.compact.transcript import key_of, scalars

__all__ = ["ARGUMENT_FEATURES", "Filled", "Question", "fill", "question_for"]

Floats = NDArray[np.float32]

MAX_CANDIDATES = 64
"""Per slot, after ranking by the prior of their paths; more cost time and were never chosen."""

MAX_LIST = 12
NAME_SIMILARITY = 0.5
"""A path whose last step is at least this similar to the argument's name is a source without evidence."""

_LINKS = 10
_SLOT = 22
ARGUMENT_FEATURES = STATIC_FEATURES + _LINKS + 2 * _SLOT
"""Columns that describe a candidate to the ranker."""


class Question(NamedTuple):
    """One choice: the candidates of a slot and what is known of each.

    Attributes:
        values: The alternatives, typed by the schema; `ABSENT` may be among them.
        keys: Their texts, "" for `ABSENT`.
        rows: [alternatives, ARGUMENT_FEATURES] float32.
    """

    values: list[Any]
    keys: list[str]
    rows: Floats


class Filled(NamedTuple):
    """A slot with its value.

    Attributes:
        value: The value, `ABSENT` if it is left out; for a required slot, if nothing fits.
        confidence: Probability that the value is the teacher's (0..1).
    """

    value: Any
    confidence: float


def question_for(
    slot: Slot, pool: Candidates, knowledge: Knowledge, before: Sequence[tuple[Slot, Any]], taken: Sequence[Any] = ()
) -> Question:
    """Gather and describe the alternatives for a slot.

    Args:
        slot: What is to be filled.
        pool: The candidate values of the state.
        knowledge: What training counted.
        before: Slots filled so far with their values.
        taken: Values chosen so far for this list slot.
    """
    counts = knowledge.of(slot)
    places, outside = _gather(slot, pool, counts, knowledge.priors(slot))
    values = [coerce(pool.values[place], slot.schema) for place in places] + outside
    if slot.allowed:
        values = [_member(value, slot.allowed) for value in values]
    kept = _distinct(values, taken)
    places = [places[i] if i < len(places) else -1 for i in kept]
    values = [values[i] for i in kept]
    if _may_be_absent(slot, counts, taken):
        places, values = [*places, -1], [*values, ABSENT]
    keys = ["" if value is ABSENT else key_of(value) for value in values]
    rows = _describe(slot, pool, counts, knowledge.priors(slot), places, keys, before, taken)
    return Question(values, keys, rows)


def fill(
    slot: Slot, pool: Candidates, knowledge: Knowledge, ranker: Ranker, before: Sequence[tuple[Slot, Any]]
) -> Filled:
    """Choose a value for a slot."""
    if slot.kind == "list":
        return _fill_list(slot, pool, knowledge, ranker, before)
    if slot.kind == "objects":
        return _fill_objects(slot, pool, knowledge, ranker, before)
    value, confidence = _choose(question_for(slot, pool, knowledge, before), ranker)
    return Filled(value, confidence)


def _fill_list(
    slot: Slot, pool: Candidates, knowledge: Knowledge, ranker: Ranker, before: Sequence[tuple[Slot, Any]]
) -> Filled:
    taken: list[Any] = []
    confidence = 1.0
    while len(taken) < MAX_LIST:
        value, share = _choose(question_for(slot, pool, knowledge, before, taken), ranker)
        confidence *= share
        if value is ABSENT:
            break
        taken.append(value)
    return Filled(taken or ABSENT, confidence)


def _fill_objects(
    slot: Slot, pool: Candidates, knowledge: Knowledge, ranker: Ranker, before: Sequence[tuple[Slot, Any]]
) -> Filled:
    """Element after element; the first slot of an element may end the array."""
    elements: list[dict[str, Any]] = []
    confidence = 1.0
    taken: list[Any] = []
    while len(taken) < MAX_LIST:
        filled: list[tuple[Slot, Any]] = []
        for part in slot.items:
            question = question_for(part, pool, knowledge, [*before, *filled], taken if part.repeats else ())
            value, share = _choose(question, ranker)
            confidence *= share
            if part.repeats and value is ABSENT:
                return Filled(elements or ABSENT, confidence)
            filled.append((part, value))
        taken.append(filled[0][1])
        elements.append(assemble(filled))
    return Filled(elements, confidence)


def _choose(question: Question, ranker: Ranker) -> tuple[Any, float]:
    if not question.values:
        return ABSENT, 0.0
    scores = ranker.scores(question.rows)
    best = int(scores.argmax())
    return question.values[best], float(1.0 / np.exp(scores - scores[best]).sum())


def _may_be_absent(slot: Slot, counts: SlotKnowledge, taken: Sequence[Any]) -> bool:
    if slot.repeats:
        return bool(taken) or not slot.required
    return not slot.required and (not counts.calls or counts.present < counts.calls)


def _gather(
    slot: Slot, pool: Candidates, counts: SlotKnowledge, priors_by_path: dict[str, float]
) -> tuple[list[int], list[Any]]:
    """Places of the candidates worth describing, and values that lie nowhere in the conversation."""
    if counts.calls and not counts.present:
        return [], []
    unique, place = pool.unique_paths
    priors = np.array([priors_by_path.get(path, 0.0) for path in unique], np.float32)
    names = np.array([_name_similarity(path, slot.name) for path in unique], np.float32)
    relevant = np.maximum(priors, np.where(names >= NAME_SIMILARITY, 0.02 * names, 0.0))
    best = pool.largest(relevant[place]) if len(pool) else np.zeros(0, np.float32)
    chosen = np.flatnonzero(best > 0)
    if len(chosen) > MAX_CANDIDATES:
        chosen = np.sort(chosen[np.argsort(-best[chosen], kind="stable")[:MAX_CANDIDATES]])
    places = [int(i) for i in chosen if _fits(pool.values[i], slot)]
    if slot.allowed:
        return places, list(slot.allowed)
    present = {pool.keys[i] for i in places}
    constants = [value for text, (value, _, tasks) in counts.constants.items() if tasks >= 2 and text not in present]
    return places, constants


def _fits(value: Any, slot: Slot) -> bool:
    if isinstance(value, dict | list) != (slot.kind == "whole"):
        return False
    plain = coerce(value, slot.schema)
    if plain is ABSENT:
        return False
    return not slot.allowed or _member(plain, slot.allowed) is not ABSENT


def _member(value: Any, allowed: Sequence[Any]) -> Any:
    """The enum member that a value means, letter case aside."""
    if value is ABSENT:
        return ABSENT
    text = key_of(value).casefold()
    return next((member for member in allowed if key_of(member).casefold() == text), ABSENT)


def _distinct(values: Sequence[Any], taken: Sequence[Any]) -> list[int]:
    seen = {key_of(value) for value in taken}
    kept = []
    for i, value in enumerate(values):
        key = key_of(value)
        if value is not ABSENT and key not in seen:
            seen.add(key)
            kept.append(i)
    return kept


def _name_similarity(path: str, name: str) -> float:
    last = path.rsplit("/", 1)[-1]
    if last in ("[]", "*", "*key"):
        steps = [step for step in path.split("/")[1:] if step not in ("[]", "*", "*key")]
        last = steps[-1] if steps else last
    return 0.0 if ":" in last else trigram_similarity(last, name)


def _describe(
    slot: Slot,
    pool: Candidates,
    counts: SlotKnowledge,
    priors: dict[str, float],
    places: Sequence[int],
    keys: Sequence[str],
    before: Sequence[tuple[Slot, Any]],
    taken: Sequence[Any],
) -> Floats:
    if not places:
        return np.zeros((0, ARGUMENT_FEATURES), np.float32)
    placed = np.array(places)
    static = np.zeros((len(places), STATIC_FEATURES), np.float32)
    static[placed >= 0] = pool.static[placed[placed >= 0]]
    links = _links(pool, places, before, taken)
    own = _slot_features(slot, pool, counts, priors, places, keys, taken)
    relative = own - own.max(axis=0, keepdims=True)
    return np.hstack([static, links, own, relative]).astype(np.float32)


def _slot_features(
    slot: Slot,
    pool: Candidates,
    counts: SlotKnowledge,
    priors: dict[str, float],
    places: Sequence[int],
    keys: Sequence[str],
    taken: Sequence[Any],
) -> Floats:
    t = pool.transcript
    used = _used_for(slot, t.calls)
    ranks: dict[str, int] = {}
    unused_ranks: dict[str, int] = {}
    rows = []
    n = counts.values + 1.0
    for place, key in zip(places, keys, strict=True):
        path, prior, similarity = _provenance(slot, pool, priors, place)
        rank = ranks[path] = ranks.get(path, -1) + 1
        unused_rank = unused_ranks.get(path, 0)
        if not used.get(key):
            unused_ranks[path] = unused_rank + 1
        low, high, mean = _attribute_evidence(pool, counts, place)
        _, times, tasks = counts.constants.get(key, (None, 0, 0))
        words = words_of(key)
        rows.append(
            (
                prior,
                counts.gold.get(path, 0) / n,
                similarity,
                min(used.get(key, 0), 5) / 5,
                min(rank, 12) / 12,
                min(unused_rank, 12) / 12 if not used.get(key) else 1.0,
                low,
                high,
                mean,
                times / n,
                min(tasks, 5) / 5,
                counts.shapes.get(shape_of(key), 0) / n if key else 0.0,
                float(not key),
                float(place < 0 and bool(key)),
                float(bool(slot.allowed)),
                counts.presence,
                float(slot.required),
                _share(words, t.last_user_words),
                _share(words, t.user_words),
                _share(words, t.reply_words),
                math.log1p(len(places)),
                len(taken) / 4 if slot.repeats else -1.0,
            )
        )
    return np.array(rows, np.float32)


def _share(words: Sequence[str], among: frozenset[str]) -> float:
    return sum(word in among for word in words) / len(words) if words else 0.0


def _provenance(slot: Slot, pool: Candidates, priors: dict[str, float], place: int) -> tuple[str, float, float]:
    """The path that speaks best for a candidate, its prior, and the best likeness of a path to the name."""
    path, prior, similarity = "", 0.0, 0.0
    if place >= 0:
        for source in pool.sources(place):
            here = pool.paths[source]
            likelihood = priors.get(here, 0.0)
            similarity = max(similarity, _name_similarity(here, slot.name))
            if not path or likelihood > prior:
                path, prior = here, likelihood
    return path, prior, similarity


def _attribute_evidence(pool: Candidates, counts: SlotKnowledge, place: int) -> tuple[float, float, float]:
    """Smallest, largest and mean log share of right values whose object had the candidate's attributes."""
    if place < 0:
        return 0.0, 0.0, 0.0
    total = counts.values + 1.0
    logs = [math.log((counts.attributes.get(a, 0) + 0.5) / total) for a in pool.attributes(place)]
    return (min(logs), max(logs), sum(logs) / len(logs)) if logs else (0.0, 0.0, 0.0)


def _used_for(slot: Slot, calls: Sequence[Any]) -> dict[str, int]:
    """How often each value was given to this very argument before."""
    used: dict[str, int] = {}
    for call in calls:
        if call.name != slot.tool:
            continue
        for path, value in scalars(call.arguments or {}):
            if tuple(step for step in path if step != "[]") == slot.path:
                used[key_of(value)] = used.get(key_of(value), 0) + 1
    return used


def _links(pool: Candidates, places: Sequence[int], before: Sequence[tuple[Slot, Any]], taken: Sequence[Any]) -> Floats:
    """How a candidate belongs with the values chosen already: [candidates, _LINKS] float32."""
    out = np.zeros((len(places), _LINKS), np.float32)
    chosen = {key_of(v) for _, value in before for _, v in scalars(value)}
    chosen |= {key_of(value) for value in taken}
    known = [pool.index[key] for key in chosen if key in pool.index]
    if not known:
        return out
    turns = {int(pool.turns[s]) for place in known for s in pool.sources(place)}
    answers = _answers(pool, chosen)
    latest = known[-1:]
    ids = frozenset().union(*(pool.ids(place) for place in latest)) - chosen
    words = frozenset().union(*(pool.words(place) for place in latest))
    user = pool.transcript.user_words
    for row, place in enumerate(places):
        if place < 0:
            continue
        at = {int(pool.turns[s]) for s in pool.sources(place)}
        own = pool.words(place)
        fresh = own - words
        out[row] = (
            1.0,
            bool(at & turns),
            bool(at & answers),
            pool.keys[place] in chosen,
            min(len(pool.ids(place) & ids), 5) / 5,
            min(len(fresh & user), 5) / 5,
            min(len(fresh - user), 20) / 20,
            len(own & words) / (1 + len(words)),
            float(own == words),
            min(len(taken), 4) / 4,
        )
    return out


def _answers(pool: Candidates, chosen: set[str]) -> set[int]:
    """Turns that are results of calls which were given one of the chosen values."""
    turns = pool.transcript.turns
    return {
        number
        for number in range(1, len(turns))
        if turns[number].role == "tool"
        and any(
            key_of(value) in chosen for call in turns[number - 1].calls for _, value in scalars(call.arguments or {})
        )
    }
