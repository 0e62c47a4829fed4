"""One slot, one question: gather the values that it might have, and describe each one to the ranker.

Leaving an optional argument out, and ending a list, are alternatives like any other. What this file
does not know: which tool to call, and in which order slots are filled (`filling`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates, packed
from ultracore.distillation.students.compact.knowledge import SlotKnowledge
from ultracore.distillation.students.compact.plans import Plan, plan_of
from ultracore.distillation.students.compact.slots import ABSENT, Slot
from ultracore.distillation.students.compact.sources import Alternative, Likenesses, Sources, Table
from ultracore.distillation.students.compact.spelling import titled
from ultracore.distillation.students.compact.text import shape_of, trigram_similarity
from ultracore.distillation.students.compact.transcript import key_of, scalars

__all__ = ["ARGUMENT_FEATURES", "ARGUMENT_FEATURES_BEFORE_MENTIONS", "Question", "question_for"]

Floats = NDArray[np.float32]

MAX_CANDIDATES = 64
"""Per slot, the likeliest by the prior of their paths; bounds the time of a decision, its cost was not measured."""

NAME_SIMILARITY = 0.5
"""A path whose last step is at least this similar to the argument's name is a source without evidence."""

NAMED = 0.005
"""Prior of what a tool result holds and the agent's last reply names: "shall I book a ride to ...?"."""

_LINKS = 10
_SLOT = 33
_TAKEN = 21
_CHOSEN = 3
_SAID = 6
ARGUMENT_FEATURES_BEFORE_MENTIONS = STATIC_FEATURES + _LINKS + 2 * _SLOT
"""Columns of models that were trained before there were `mentions`; newer ones stand behind them."""
ARGUMENT_FEATURES = ARGUMENT_FEATURES_BEFORE_MENTIONS + 2 * _SAID
"""Columns that describe a candidate to the ranker."""

_STATIC_AT = slice(STATIC_FEATURES)
_LINKS_AT = slice(STATIC_FEATURES, STATIC_FEATURES + _LINKS)
_OWN_AT = slice(_LINKS_AT.stop, _LINKS_AT.stop + _SLOT)
_OWN_RELATIVE_AT = slice(_OWN_AT.stop, _OWN_AT.stop + _SLOT)
_SAID_AT = slice(_OWN_RELATIVE_AT.stop, _OWN_RELATIVE_AT.stop + _SAID)
_SAID_RELATIVE_AT = slice(_SAID_AT.stop, _SAID_AT.stop + _SAID)


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
    if not _may_be_absent(slot, plan_of(slot, sources.knowledge).counts, taken):
        gone.add("")
    if any(alternative.key in gone for alternative in table.alternatives):
        table = table.without(gone)
    return Question(
        [alternative.value for alternative in table.alternatives],
        [alternative.key for alternative in table.alternatives],
        _describe(slot, sources.pool, table, before, taken),
    )


def _table(slot: Slot, sources: Sources) -> Table:
    """All alternatives of a slot and what is said of them whatever was chosen before; made once a state."""
    found = sources.tables.get(slot.key)
    if found is None:
        plan = plan_of(slot, sources.knowledge)
        reach, heard = _Reach(plan, sources), _heard(plan, sources)
        alternatives = _gather(plan, sources, reach, heard)
        if slot.repeats or _may_be_absent(slot, plan.counts, ()):
            alternatives.append(Alternative(-1, ABSENT, ""))
        static = sources.pool.static_rows[[alternative.place for alternative in alternatives]]
        own = _slot_features(plan, sources, reach, heard, alternatives)
        found = Table(alternatives, static, own, _said_features(plan, sources, alternatives))
        sources.tables[slot.key] = found
    return found


def _may_be_absent(slot: Slot, counts: SlotKnowledge, taken: Sequence[Any]) -> bool:
    if slot.repeats:
        return bool(taken) or not slot.required
    return not slot.required and (not counts.calls or counts.present < counts.calls)


class _Reach:
    """How well the paths of a state's candidates speak for a slot."""

    def __init__(self, plan: Plan, sources: Sources) -> None:
        self._pool, get = sources.pool, plan.priors.get
        self.priors = [get(path, 0.0) for path in self._pool.unique_paths[0]]
        self.likenesses = _likenesses(plan.slot.name, sources)

    def best(self) -> Floats:
        """The most that a source says for each candidate; a path with a name like the slot's says something."""
        names = self.likenesses.floor
        return self._pool.largest(np.maximum(np.array(self.priors, np.float32), names)[self._pool.unique_paths[1]])

    def of(self, place: int) -> tuple[str, float, float]:
        """The path that speaks best for a candidate, its prior, and the best likeness of a path to the name."""
        best, prior, similarity, names = -1, 0.0, 0.0, self.likenesses.names
        for path in self._pool.paths_of(place):
            likelihood, likeness = self.priors[path], names[path]
            if best < 0 or likelihood > prior:
                best, prior = path, likelihood
            if likeness > similarity:
                similarity = likeness
        return self._pool.unique_paths[0][best], prior, similarity


def _gather(plan: Plan, sources: Sources, reach: _Reach, heard: Sequence[tuple[str, str, float]]) -> list[Alternative]:
    """Everything that the slot's value might be, candidates of the conversation first."""
    found: dict[str, Alternative] = {}
    if plan.counts.calls and not plan.counts.present:
        return []
    pool, typed = sources.pool, plan.typed
    offers = [(place, pool.values[place]) for place in _relevant(plan.slot, pool, reach)]
    offers += [(pool.index.get(said, -1), value) for said, value, _ in heard]
    offers += _affixed(pool, plan)
    for place, value in offers:
        plain = typed(value)
        if plain is not ABSENT:
            key = key_of(plain)
            if key not in found:
                found[key] = Alternative(place, plain, key)
    for value, key in plan.values:
        if key not in found:
            found[key] = Alternative(-1, value, key)
    return list(found.values())


def _heard(plan: Plan, sources: Sources) -> list[tuple[str, str, float]]:
    """What the user said that may be the value: as it was said, as it would be written, how likely."""
    found = []
    for span in sources.spoken(plan.slot):
        found.append((span.value, span.value, span.probability))
        written = titled(span.value) if plan.is_named else span.value
        if written != span.value:
            found.append((span.value, written, span.probability))
    return found


def _relevant(slot: Slot, pool: Candidates, reach: _Reach) -> list[int]:
    """Candidates where values of the slot have lain, or under a name like the slot's, or that the agent just named."""
    if not len(pool):
        return []
    best = reach.best()
    if not slot.allowed:
        best = np.maximum(best, NAMED * pool.named)
    chosen = np.flatnonzero(best > 0)
    if len(chosen) > MAX_CANDIDATES:
        chosen = np.sort(chosen[np.argsort(-best[chosen], kind="stable")[:MAX_CANDIDATES]])
    return chosen.tolist()


def _likenesses(name: str, sources: Sources) -> Likenesses:
    """How like an argument's name each path is; many tools have arguments of one name."""
    found = sources.likenesses.get(name)
    if found is None:
        names = np.array([_name_similarity(path, name) for path in sources.pool.unique_paths[0]], np.float32)
        floor = np.where(names >= NAME_SIMILARITY, 0.02 * names, 0.0).astype(np.float32)
        found = sources.likenesses[name] = Likenesses(names.tolist(), floor)
    return found


def _affixed(pool: Candidates, plan: Plan) -> Iterator[tuple[int, str]]:
    """Candidates of the right shape with a prefix or suffix that such values were seen to want."""
    for prefix, shape, suffix in plan.affixes:
        for place, key in enumerate(pool.keys):
            if len(key) >= 3 and not key.startswith(prefix or "\0") and shape_of(key) == shape:
                yield place, prefix + key + suffix


@lru_cache(maxsize=65536)
def _name_similarity(path: str, name: str) -> float:
    last = path.rsplit("/", 1)[-1]
    if last in ("[]", "*", "*key"):
        steps = [step for step in path.split("/")[1:] if step not in ("[]", "*", "*key")]
        last = steps[-1] if steps else last
    return 0.0 if ":" in last else trigram_similarity(last, name)


def _describe(
    slot: Slot, pool: Candidates, table: Table, before: Sequence[tuple[Slot, Any]], taken: Sequence[Any]
) -> Floats:
    rows = np.empty((len(table.alternatives), ARGUMENT_FEATURES), np.float32)
    if not len(rows):
        return rows
    own, said = table.own, table.said
    rows[:, _STATIC_AT] = table.static
    rows[:, _LINKS_AT] = _links(pool, table.alternatives, before, taken)
    rows[:, _OWN_AT] = own
    rows[:, _OWN_AT.start + _TAKEN] = len(taken) / 4 if slot.repeats else -1.0
    np.subtract(own, own.max(axis=0), out=rows[:, _OWN_RELATIVE_AT])
    rows[:, _SAID_AT] = said
    np.subtract(said, said.max(axis=0), out=rows[:, _SAID_RELATIVE_AT])
    return rows


def _slot_features(
    plan: Plan,
    sources: Sources,
    reach: _Reach,
    heard: Sequence[tuple[str, str, float]],
    alternatives: Sequence[Alternative],
) -> Floats:
    """What is said of each alternative for this slot: [alternatives, _SLOT] float32."""
    slot, counts, pool = plan.slot, plan.counts, sources.pool
    shares = sources.shares(slot)
    likely: dict[str, float] = {}
    for _, written, probability in heard:
        likely.setdefault(written, probability)
    used = pool.transcript.given.get((slot.tool, slot.path), {})
    ranks: dict[str, int] = {}
    unused_ranks: dict[str, int] = {}
    n = counts.values + 1.0
    size = math.log1p(len(alternatives))
    absent_is_likely = 1.0 - max(likely.values(), default=0.0)
    by_slot = bool(slot.allowed), counts.presence, slot.required
    flat: list[float] = []
    for place, value, key in alternatives:
        path, prior, similarity, weighed = "", 0.0, 0.0, (0.0, 0.0, 0.0)
        if place >= 0:
            path, prior, similarity = reach.of(place)
            weighed = plan.evidence(pool.around(place).attributes)
        rank, unused_rank, times_used = ranks.get(path, 0), unused_ranks.get(path, 0), used.get(key, 0)
        ranks[path] = rank + 1
        unused_ranks[path] = unused_rank + (not times_used)
        share = shares.get(key, 0.0) if shares is not None else 0.0
        times, tasks, shapes, described = plan.habit(key)
        last, user, reply, at, beside = sources.echo(key)
        flat += (
            prior,
            counts.gold.get(path, 0) / n,
            similarity,
            times_used / 5 if times_used < 5 else 1.0,
            rank / 12 if rank < 12 else 1.0,
            unused_rank / 12 if unused_rank < 12 and not times_used else 1.0,
            *weighed,
            times,
            tasks,
            shapes,
            not key,
            place < 0 and bool(key),
            *by_slot,
            last,
            user,
            reply,
            size,
            0.0,  # _TAKEN, filled in when it is known
            share,
            math.log(share + 1e-3) if shares is not None else 0.0,
            shares is not None,
            likely.get(key, 0.0) if key else absent_is_likely,
            bool(likely),
            place >= 0 and pool.keys[place] != key and value is not ABSENT,
            # words of the name and of the description beside the value, where the user said it
            len(beside & plan.name) / plan.name_size if beside else 0.0,
            min(len(beside & plan.described), 4) / 4 if beside else 0.0,
            described,
            at,
            plan.strangeness,
        )
    return packed(flat, _SLOT)


def _said_features(plan: Plan, sources: Sources, alternatives: Sequence[Alternative]) -> Floats:
    """What stands around each alternative where the user said it: [alternatives, _SAID] float32."""
    out = np.zeros((len(alternatives), _SAID), np.float32)
    keys, rows = sources.pool.keys, []
    flat: list[float] = []
    for row, (place, _, key) in enumerate(alternatives):
        found = sources.heard(plan.slot, keys[place] if place >= 0 else key)
        if found is not None:
            rows.append(row)
            flat += (
                1.0,
                min(max(found.newest, -6.0), 6.0) / 3.0,
                min(max(found.best, -6.0), 6.0) / 3.0,
                min(found.age, 8) / 8,
                len(found.words & plan.name) / plan.name_size,
                min(len(found.words & plan.described), 4) / 4,
            )
    if rows:
        out[rows] = packed(flat, _SAID)
    return out


def _links(
    pool: Candidates, kept: Sequence[Alternative], before: Sequence[tuple[Slot, Any]], taken: Sequence[Any]
) -> Floats:
    """How a candidate belongs with the values chosen already: [candidates, _LINKS] float32."""
    out = np.zeros((len(kept), _LINKS), np.float32)
    chosen = dict.fromkeys(key_of(v) for _, value in before for _, v in scalars(value))  # in order: the last counts
    chosen |= dict.fromkeys(key_of(value) for value in taken)
    known = [pool.index[key] for key in chosen if key in pool.index]
    if not known:
        out[:, _CHOSEN] = [alternative.key in chosen for alternative in kept]
        return out
    turns = frozenset().union(*(pool.seen_in(place) for place in known))
    answers = pool.answers(chosen)
    last = pool.around(known[-1])
    ids, words = last.ids - {pool.keys[known[-1]]} - chosen.keys(), last.words
    user = pool.transcript.user_words
    places = [alternative.place for alternative in kept]
    belongs = {group: _likeness(pool.surroundings[group].words, words, user) for group in _groups(pool, places)}
    flat: list[float] = []
    for place, _, mine in kept:
        if place < 0:
            flat += (0.0, 0.0, 0.0, mine in chosen, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            continue
        at, key = pool.seen_in(place), pool.keys[place]
        shared = (pool.around(place).ids & ids) - {key}
        flat += (
            1.0,
            not at.isdisjoint(turns),
            not at.isdisjoint(answers),
            key in chosen or mine in chosen,
            min(len(shared), 5) / 5,
            *belongs[pool.group[place]],
            min(len(taken), 4) / 4,
        )
    return packed(flat, _LINKS)


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
