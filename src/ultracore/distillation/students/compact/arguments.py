"""One slot, one question: gather the values that it might have, and describe each one to the ranker.

Leaving an optional argument out, and ending a list, are alternatives like any other. What this file
does not know: which tool to call, and in which order slots are filled (`filling`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates
from ultracore.distillation.students.compact.knowledge import SlotKnowledge
from ultracore.distillation.students.compact.matching import name_words
from ultracore.distillation.students.compact.slots import ABSENT, Slot, coerce
from ultracore.distillation.students.compact.sources import Alternative, Sources, Table
from ultracore.distillation.students.compact.spelling import begins_with_capitals, is_shortened, titled
from ultracore.distillation.students.compact.text import shape_of, trigram_similarity, words_of
from ultracore.distillation.students.compact.transcript import key_of, scalars

__all__ = ["ARGUMENT_FEATURES", "ARGUMENT_FEATURES_BEFORE_MENTIONS", "Question", "question_for"]

Floats = NDArray[np.float32]

MAX_CANDIDATES = 64
"""Per slot, the likeliest by the prior of their paths; bounds the time of a decision, its cost was not measured."""

MIN_TASKS = 2
"""A value of this many tasks may be a constant of the slot."""

MIN_AFFIX = 3
"""Times that a prefix or suffix must have been seen."""

NAME_SIMILARITY = 0.5
"""A path whose last step is at least this similar to the argument's name is a source without evidence."""

NAMED = 0.005
"""Prior of what a tool result holds and the agent's last reply names: "shall I book a ride to ...?"."""

BESIDE = 30
"""Characters before a value, and half as many behind it, that may say what it is."""

_LINKS = 10
_SLOT = 33
_TAKEN = 21
_CHOSEN = 3
_SAID = 6
ARGUMENT_FEATURES_BEFORE_MENTIONS = STATIC_FEATURES + _LINKS + 2 * _SLOT
"""Columns of models that were trained before there were `mentions`; newer ones stand behind them."""
ARGUMENT_FEATURES = ARGUMENT_FEATURES_BEFORE_MENTIONS + 2 * _SAID
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


def question_for(
    slot: Slot, sources: Sources, before: Sequence[tuple[Slot, Any]], taken: Sequence[Any] = ()
) -> Question:
    """Gather and describe the alternatives for a slot.

    Args:
        slot: What is to be filled.
        sources: Where its value may come from.
        before: Slots filled so far with their values.
        taken: Values chosen so far for this list slot.
    """
    table = _table(slot, sources)
    gone = {key_of(value) for value in taken}
    if not _may_be_absent(slot, sources.knowledge.of(slot), taken):
        gone.add("")
    kept = [i for i, alternative in enumerate(table.alternatives) if alternative.key not in gone]
    alternatives = [table.alternatives[i] for i in kept]
    return Question(
        [alternative.value for alternative in alternatives],
        [alternative.key for alternative in alternatives],
        _describe(slot, sources.pool, table, kept, before, taken),
    )


def _table(slot: Slot, sources: Sources) -> Table:
    """All alternatives of a slot and what is said of them whatever was chosen before; made once a state."""
    if slot.key not in sources.tables:
        counts = sources.knowledge.of(slot)
        alternatives = _distinct(_gather(slot, sources, counts))
        if slot.repeats or _may_be_absent(slot, counts, ()):
            alternatives.append(Alternative(-1, ABSENT, ""))
        placed = np.array([alternative.place for alternative in alternatives], np.int64)
        static = np.zeros((len(placed), STATIC_FEATURES), np.float32)
        static[placed >= 0] = sources.pool.static[placed[placed >= 0]]
        own = _slot_features(slot, sources, counts, alternatives)
        sources.tables[slot.key] = Table(alternatives, static, own, _said_features(slot, sources, alternatives))
    return sources.tables[slot.key]


def _may_be_absent(slot: Slot, counts: SlotKnowledge, taken: Sequence[Any]) -> bool:
    if slot.repeats:
        return bool(taken) or not slot.required
    return not slot.required and (not counts.calls or counts.present < counts.calls)


def _gather(slot: Slot, sources: Sources, counts: SlotKnowledge) -> Iterator[Alternative]:
    """Everything that the slot's value might be, candidates of the conversation first."""
    if counts.calls and not counts.present:
        return
    pool = sources.pool
    for place in _relevant(slot, sources):
        yield from _typed(slot, place, pool.values[place])
    for said, value, _ in _heard(slot, sources, counts):
        yield from _typed(slot, pool.index.get(said, -1), value)
    for place, value in _affixed(pool, counts):
        yield from _typed(slot, place, value)
    for member in slot.allowed:
        yield Alternative(-1, member, key_of(member))
    for value, _, tasks in counts.constants.values():
        if tasks >= MIN_TASKS:
            yield from _typed(slot, -1, value)


def _heard(slot: Slot, sources: Sources, counts: SlotKnowledge) -> Iterator[tuple[str, str, float]]:
    """What the user said that may be the value: as it was said, as it would be written, how likely."""
    for span in sources.spoken(slot):
        yield span.value, span.value, span.probability
        written = titled(span.value)
        if written != span.value and begins_with_capitals(counts.shapes):
            yield span.value, written, span.probability


def _relevant(slot: Slot, sources: Sources) -> list[int]:
    """Candidates where values of the slot have lain, or under a name like the slot's, or that the agent just named."""
    pool = sources.pool
    if not len(pool):
        return []
    _, place = pool.unique_paths
    names = _likenesses(slot.name, sources)
    priors = pool.spread(sources.knowledge.priors(slot))
    relevant = np.maximum(priors, np.where(names >= NAME_SIMILARITY, 0.02 * names, 0.0))
    best = pool.largest(relevant[place])
    if not slot.allowed:
        best = np.maximum(best, NAMED * pool.named)
    chosen = np.flatnonzero(best > 0)
    if len(chosen) > MAX_CANDIDATES:
        chosen = np.sort(chosen[np.argsort(-best[chosen], kind="stable")[:MAX_CANDIDATES]])
    return [int(i) for i in chosen]


def _likenesses(name: str, sources: Sources) -> Floats:
    """How like an argument's name each path is: [unique paths] float32; many tools have arguments of one name."""
    if name not in sources.likenesses:
        unique, _ = sources.pool.unique_paths
        sources.likenesses[name] = np.array([_name_similarity(path, name) for path in unique], np.float32)
    return sources.likenesses[name]


def _affixed(pool: Candidates, counts: SlotKnowledge) -> Iterator[tuple[int, str]]:
    """Candidates of the right shape with a prefix or suffix that such values were seen to want."""
    for affix, times in counts.affixes.items():
        if times < MIN_AFFIX:
            continue
        prefix, shape, suffix = affix.split("\t")
        for place, key in enumerate(pool.keys):
            if len(key) >= 3 and not key.startswith(prefix or "\0") and shape_of(key) == shape:
                yield place, prefix + key + suffix


def _typed(slot: Slot, place: int, value: Any) -> Iterator[Alternative]:
    """The value as an alternative, if the slot's schema and enum can hold it."""
    if isinstance(value, dict | list) != (slot.kind == "whole"):
        return
    plain = coerce(value, slot.schema)
    if plain is not ABSENT and slot.allowed:
        plain = _member(plain, slot.allowed)
    if plain is not ABSENT:
        yield Alternative(place, plain, key_of(plain))


def _member(value: Any, allowed: Sequence[Any]) -> Any:
    """The enum member that a value means, letter case aside."""
    text = key_of(value).casefold()
    return next((member for member in allowed if key_of(member).casefold() == text), ABSENT)


def _distinct(alternatives: Iterable[Alternative]) -> list[Alternative]:
    seen: set[str] = set()
    kept = []
    for alternative in alternatives:
        if alternative.key not in seen:
            seen.add(alternative.key)
            kept.append(alternative)
    return kept


@lru_cache(maxsize=65536)
def _name_similarity(path: str, name: str) -> float:
    last = path.rsplit("/", 1)[-1]
    if last in ("[]", "*", "*key"):
        steps = [step for step in path.split("/")[1:] if step not in ("[]", "*", "*key")]
        last = steps[-1] if steps else last
    return 0.0 if ":" in last else trigram_similarity(last, name)


def _describe(
    slot: Slot,
    pool: Candidates,
    table: Table,
    kept: Sequence[int],
    before: Sequence[tuple[Slot, Any]],
    taken: Sequence[Any],
) -> Floats:
    if not kept:
        return np.zeros((0, ARGUMENT_FEATURES), np.float32)
    own = table.own[kept]
    own[:, _TAKEN] = len(taken) / 4 if slot.repeats else -1.0
    links = _links(pool, [table.alternatives[i] for i in kept], before, taken)
    said = table.said[kept]
    relative = [own - own.max(axis=0, keepdims=True), said, said - said.max(axis=0, keepdims=True)]
    return np.hstack([table.static[kept], links, own, *relative])


def _slot_features(slot: Slot, sources: Sources, counts: SlotKnowledge, alternatives: Sequence[Alternative]) -> Floats:
    pool, t = sources.pool, sources.pool.transcript
    priors, shares = sources.knowledge.priors(slot), sources.shares(slot)
    heard: dict[str, float] = {}
    for _, written, probability in _heard(slot, sources, counts):
        heard.setdefault(written, probability)
    used = t.given.get((slot.tool, slot.path), {})
    ranks: Counter[str] = Counter()
    unused_ranks: Counter[str] = Counter()
    groups = _groups(pool, (place for place, _, _ in alternatives))
    speaks = {group: _attribute_evidence(pool.surroundings[group].attributes, counts) for group in groups}
    rows = []
    n = counts.values + 1.0
    size = math.log1p(len(alternatives))
    about = _About(slot, t.last_user_text)
    strangeness = sources.knowledge.strangeness(slot) / 3
    for place, value, key in alternatives:
        path, prior, similarity = _provenance(slot, pool, priors, place)
        rank, unused_rank = ranks[path], unused_ranks[path]
        ranks[path] += 1
        unused_ranks[path] += not used.get(key)
        low, high, mean = speaks[pool.group[place]] if place >= 0 else (0.0, 0.0, 0.0)
        _, times, tasks = counts.constants.get(key, (None, 0, 0))
        words = _words(key)
        share = shares.get(key, 0.0) if shares is not None else 0.0
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
                _share_said(words, t.last_user_words),
                _share_said(words, t.user_words),
                _share(words, t.reply_words),
                size,
                0.0,  # _TAKEN, filled in when it is known
                share,
                math.log(share + 1e-3) if shares is not None else 0.0,
                float(shares is not None),
                heard.get(key, 0.0) if key else 1.0 - max(heard.values(), default=0.0),
                float(bool(heard)),
                float(place >= 0 and pool.keys[place] != key and value is not ABSENT),
                *about.features(key),
                strangeness,
            )
        )
    return np.array(rows, np.float32).reshape(len(rows), _SLOT)


def _said_features(slot: Slot, sources: Sources, alternatives: Sequence[Alternative]) -> Floats:
    """What stands around each alternative where the user said it: [alternatives, _SAID] float32."""
    out = np.zeros((len(alternatives), _SAID), np.float32)
    name = frozenset(name_words(slot.name))
    described = frozenset(words_of(str(slot.schema.get("description") or "").lower())) - name
    for row, alternative in enumerate(alternatives):
        found = sources.heard(slot, _said_key(sources.pool, alternative))
        if found is not None:
            out[row] = (
                1.0,
                min(max(found.newest, -6.0), 6.0) / 3.0,
                min(max(found.best, -6.0), 6.0) / 3.0,
                min(found.age, 8) / 8,
                len(found.words & name) / max(len(name), 1),
                min(len(found.words & described), 4) / 4,
            )
    return out


def _said_key(pool: Candidates, alternative: Alternative) -> str:
    return pool.keys[alternative.place] if alternative.place >= 0 else alternative.key


@lru_cache(maxsize=65536)
def _words(key: str) -> tuple[str, ...]:
    return tuple(words_of(key))


class _About:
    """How a slot's name and description speak of a value, and of the words beside it in a text."""

    def __init__(self, slot: Slot, text: str) -> None:
        self._name = frozenset(name_words(slot.name))
        self._description = str(slot.schema.get("description") or "").lower()
        self._described = frozenset(words_of(self._description)) - self._name
        self._text = text.lower()

    def features(self, key: str) -> tuple[float, float, float, float]:
        """Words of the name and of the description beside the value; is it in the description; where it was said."""
        said = key.lower()
        at = self._text.find(said) if len(said) > 1 else -1
        known = float(len(said) > 2 and said in self._description)
        if at < 0:
            return 0.0, 0.0, known, -1.0
        beside = self._text[max(0, at - BESIDE) : at] + " " + self._text[at + len(said) : at + len(said) + BESIDE // 2]
        words = frozenset(words_of(beside))
        near = len(words & self._name) / max(len(self._name), 1)
        return near, min(len(words & self._described), 4) / 4, known, at / len(self._text)


def _share_said(words: Sequence[str], said: frozenset[str]) -> float:
    """As `_share`; a value that was said in a shortened form was said."""
    share = _share(words, said)
    return 1.0 if share < 1.0 and is_shortened(words, said) else share


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


def _attribute_evidence(attributes: Collection[str], counts: SlotKnowledge) -> tuple[float, float, float]:
    """Smallest, largest and mean log share of right values whose object had these attributes."""
    total = counts.values + 1.0
    logs = [math.log((counts.attributes.get(a, 0) + 0.5) / total) for a in attributes]
    # fsum does not depend on the order, and that of a set differs from process to process
    return (min(logs), max(logs), math.fsum(logs) / len(logs)) if logs else (0.0, 0.0, 0.0)


def _links(
    pool: Candidates, kept: Sequence[Alternative], before: Sequence[tuple[Slot, Any]], taken: Sequence[Any]
) -> Floats:
    """How a candidate belongs with the values chosen already: [candidates, _LINKS] float32."""
    out = np.zeros((len(kept), _LINKS), np.float32)
    chosen = dict.fromkeys(key_of(v) for _, value in before for _, v in scalars(value))  # in order: the last counts
    chosen |= dict.fromkeys(key_of(value) for value in taken)
    out[:, _CHOSEN] = [alternative.key in chosen for alternative in kept]
    known = [pool.index[key] for key in chosen if key in pool.index]
    if not known:
        return out
    turns = frozenset().union(*(pool.seen_in(place) for place in known))
    answers = _answers(pool, chosen)
    latest = known[-1:]
    ids = frozenset().union(*(pool.ids(place) for place in latest)) - chosen.keys()
    words = frozenset().union(*(pool.around(place).words for place in latest))
    user = pool.transcript.user_words
    places = [alternative.place for alternative in kept]
    belongs = {group: _likeness(pool.surroundings[group].words, words, user) for group in _groups(pool, places)}
    for row, place in enumerate(places):
        if place < 0:
            continue
        at, key = pool.seen_in(place), pool.keys[place]
        shared = pool.around(place).ids & ids
        out[row] = (
            1.0,
            bool(at & turns),
            bool(at & answers),
            key in chosen or kept[row].key in chosen,
            min(len(shared) - (key in shared), 5) / 5,
            *belongs[pool.group[place]],
            min(len(taken), 4) / 4,
        )
    return out


def _likeness(own: frozenset[str], words: frozenset[str], user: frozenset[str]) -> tuple[float, ...]:
    """How the words of an object resemble those of the one chosen before, and what the user said of the rest."""
    fresh = own - words
    return (
        min(len(fresh & user), 5) / 5,
        min(len(fresh - user), 20) / 20,
        len(own & words) / (1 + len(words)),
        float(own == words),
    )


def _groups(pool: Candidates, places: Iterable[int]) -> set[int]:
    return {pool.group[place] for place in places if place >= 0}


def _answers(pool: Candidates, chosen: Collection[str]) -> set[int]:
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
