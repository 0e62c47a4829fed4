"""What a slot might be: its alternatives, and what is said of each whatever else was chosen.

All slots of all drafts are laid out at once, for numpy costs the same for one row as for a hundred. What this
file does not know: which alternative is chosen, and what that says of the next slot (`arguments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates, packed
from ultracore.distillation.students.compact.figures import SLOT_FIGURES, TAKEN, Gathered, slot_figures
from ultracore.distillation.students.compact.kinship import KINSHIP
from ultracore.distillation.students.compact.plans import Plan, plan_of
from ultracore.distillation.students.compact.slots import ABSENT, Slot
from ultracore.distillation.students.compact.sources import Alternative, Sources, Table
from ultracore.distillation.students.compact.spelling import titled
from ultracore.distillation.students.compact.text import shape_of
from ultracore.distillation.students.compact.topics import TOPIC_FIGURES, truth_of
from ultracore.distillation.students.compact.transcript import key_of

__all__ = [
    "ARGUMENT_FEATURES",
    "ARGUMENT_FEATURES_BEFORE_MENTIONS",
    "ARGUMENT_FEATURES_BEFORE_PARAPHRASES",
    "ARGUMENT_FEATURES_BEFORE_TOPICS",
    "KINSHIP_AT",
    "LINKS_AT",
    "TAKEN_AT",
    "lay_out",
    "without",
]

Floats = NDArray[np.float32]

MAX_CANDIDATES = 64
"""Per slot, the likeliest by the prior of their paths; bounds the time of a decision, its cost was not measured."""

NAMED = 0.005
"""Prior of what a tool result holds and the agent's last reply names: "shall I book a ride to ...?"."""

_LINKS = 10
_SAID = 6
_TOLD = 5
ARGUMENT_FEATURES_BEFORE_MENTIONS = STATIC_FEATURES + _LINKS + 2 * SLOT_FIGURES
"""Columns of models that were trained before there were `mentions`; newer ones stand behind them."""
ARGUMENT_FEATURES_BEFORE_TOPICS = ARGUMENT_FEATURES_BEFORE_MENTIONS + 2 * _SAID
"""Likewise, before there were `topics`."""
ARGUMENT_FEATURES_BEFORE_PARAPHRASES = ARGUMENT_FEATURES_BEFORE_TOPICS + TOPIC_FIGURES
"""Likewise, before there were `paraphrases`."""
ARGUMENT_FEATURES = ARGUMENT_FEATURES_BEFORE_PARAPHRASES + _TOLD + KINSHIP
"""Columns that describe a candidate to the ranker."""

_STATIC_AT = slice(STATIC_FEATURES)
LINKS_AT = slice(STATIC_FEATURES, STATIC_FEATURES + _LINKS)
_OWN_AT = slice(LINKS_AT.stop, LINKS_AT.stop + SLOT_FIGURES)
_OWN_RELATIVE_AT = slice(_OWN_AT.stop, _OWN_AT.stop + SLOT_FIGURES)
_SAID_AT = slice(_OWN_RELATIVE_AT.stop, _OWN_RELATIVE_AT.stop + _SAID)
_SAID_RELATIVE_AT = slice(_SAID_AT.stop, _SAID_AT.stop + _SAID)
_TOPIC_AT = slice(_SAID_RELATIVE_AT.stop, ARGUMENT_FEATURES_BEFORE_PARAPHRASES)
_TOLD_AT = slice(_TOPIC_AT.stop, ARGUMENT_FEATURES - KINSHIP)
KINSHIP_AT = slice(_TOLD_AT.stop, ARGUMENT_FEATURES)
TAKEN_AT = _OWN_AT.start + TAKEN
"""How many values a list has already; -1 for what is no list."""

Heard = Sequence[tuple[str, str, float]]


def lay_out(slots: Iterable[Slot], sources: Sources) -> None:
    """See to it that slots, and those of the elements of their arrays, have a table."""
    parts = [part for slot in slots for part in slot.items or (slot,) if part.key not in sources.tables]
    gathered = [_gathered(part, sources) for part in parts]
    filled = [found for found in gathered if found.alternatives]
    for found in gathered:
        if not found.alternatives:
            sources.tables[found.plan.slot.key] = Table([], [], np.zeros((0, ARGUMENT_FEATURES), np.float32))
    if filled:
        _describe(filled, sources)


def without(table: Table, gone: set[str], *, may_end: bool) -> Table:
    """The table without the values of these texts, and without `ABSENT` unless the slot may end, or be left out."""
    if gone.isdisjoint(table.keys) and (may_end or "" not in table.keys):
        return table
    offered = enumerate(table.alternatives)
    kept = [row for row, (_, value, key) in offered if (may_end if value is ABSENT else key not in gone)]
    rows = table.rows[kept]
    if len(rows):
        for own, relative in ((_OWN_AT, _OWN_RELATIVE_AT), (_SAID_AT, _SAID_RELATIVE_AT)):
            np.subtract(rows[:, own], rows[:, own].max(axis=0), out=rows[:, relative])
    return Table([table.alternatives[row] for row in kept], [table.keys[row] for row in kept], rows)


def _describe(gathered: Sequence[Gathered], sources: Sources) -> None:
    """The tables of slots that have alternatives."""
    sizes = [len(found.alternatives) for found in gathered]
    start = np.cumsum([0, *sizes])
    rows = np.empty((start[-1], ARGUMENT_FEATURES), np.float32)
    places = [place for found in gathered for place, _, _ in found.alternatives]
    rows[:, _STATIC_AT] = sources.pool.static_rows[places]
    rows[:, LINKS_AT] = 0.0
    rows[:, KINSHIP_AT] = 0.0
    rows[:, _OWN_AT] = slot_figures(gathered, sources)
    rows[:, _SAID_AT] = _said(gathered, len(rows), sources)
    rows[:, _TOPIC_AT] = _spoken_of(gathered, sizes, sources)
    rows[:, _TOLD_AT] = _told(gathered, sources)
    for own, relative in ((_OWN_AT, _OWN_RELATIVE_AT), (_SAID_AT, _SAID_RELATIVE_AT)):
        top = np.maximum.reduceat(rows[:, own], start[:-1], axis=0)
        np.subtract(rows[:, own], np.repeat(top, sizes, axis=0), out=rows[:, relative])
    bounds = start.tolist()
    for found, first, end in zip(gathered, bounds, bounds[1:], strict=False):
        keys = [key for _, _, key in found.alternatives]
        sources.tables[found.plan.slot.key] = Table(found.alternatives, keys, rows[first:end])


def _gathered(slot: Slot, sources: Sources) -> Gathered:
    plan = plan_of(slot, sources.knowledge)
    heard = _heard(plan, sources)
    alternatives = _gather(plan, sources, heard)
    if slot.repeats or plan.may_be_absent:
        alternatives.append(Alternative(-1, ABSENT, ""))
    return Gathered(plan, alternatives, heard)


def _gather(plan: Plan, sources: Sources, heard: Heard) -> list[Alternative]:
    """Everything that the slot's value might be, candidates of the conversation first."""
    if plan.is_known and not plan.counts.present:
        return []
    found: dict[str, Alternative] = {}
    pool = sources.pool
    offers = [(place, pool.values[place]) for place in _relevant(plan, pool)]
    offers += [(pool.index.get(said, -1), value) for said, value, _ in heard]
    offers += _affixed(pool, plan)
    offers += [(pool.index.get(key, -1), key) for key in _meant_for(plan, sources)]
    for place, value in offers:
        plain = plan.typed(value)
        if plain is not ABSENT:
            key = key_of(plain)
            if key not in found:
                found[key] = Alternative(place, plain, key)
    for known in plan.values:
        if known.key not in found:
            found[known.key] = known
    return list(found.values())


def _heard(plan: Plan, sources: Sources) -> Heard:
    """What the user said that may be the value: as it was said, as it would be written, how likely."""
    found = []
    for span in sources.spoken(plan.slot):
        found.append((span.value, span.value, span.probability))
        is_plain = plan.is_named and span.value.islower()
        written = titled(span.value) if is_plain or plan.is_titled else span.value
        if written != span.value:
            found.append((span.value, written, span.probability))
    return found


def _relevant(plan: Plan, pool: Candidates) -> list[int]:
    """Candidates where values of the slot have lain, or under a name like the slot's, or that the agent just named."""
    known, source = plan.sources, plan.source
    good = {path for path in pool.paths if (known.get(path) or source(path)).worth > 0}
    found: set[int] = set()
    for paths, places in pool.kinds.items() if good else ():
        if not good.isdisjoint(paths):
            found.update(places)
    if not plan.slot.allowed:
        found.update(pool.named)
    chosen = sorted(found)
    if len(chosen) > MAX_CANDIDATES:
        named = frozenset(() if plan.slot.allowed else pool.named)
        worth = [max(source(path).worth for path in pool.paths_of[i]) for i in chosen]
        best = np.array([max(w, NAMED * (i in named)) for w, i in zip(worth, chosen, strict=True)], np.float32)
        chosen = [chosen[i] for i in sorted(np.argsort(-best, kind="stable")[:MAX_CANDIDATES].tolist())]
    return chosen


def _affixed(pool: Candidates, plan: Plan) -> Iterator[tuple[int, str]]:
    """Candidates of the right shape with a prefix or suffix that such values were seen to want."""
    for prefix, shape, suffix in plan.affixes:
        for place, key in enumerate(pool.keys):
            if len(key) >= 3 and not key.startswith(prefix or "\0") and shape_of(key) == shape:
                yield place, prefix + key + suffix


def _said(gathered: Sequence[Gathered], size: int, sources: Sources) -> Floats:
    """What stands around each of so many alternatives where the user said it: [size, _SAID] float32."""
    out = np.zeros((size, _SAID), np.float32)
    keys, mentioned = sources.pool.keys, sources.mentioned
    if not mentioned:
        return out
    row, rows = -1, []
    flat: list[float] = []
    for plan, alternatives, _ in gathered:
        name = sources.spoken_name(plan.slot)
        for place, _, key in alternatives:
            row += 1
            text = keys[place] if place >= 0 else key
            found = sources.heard(name, text) if text in mentioned else None
            if found is not None:
                rows.append(row)
                flat += (
                    1.0,
                    min(max(found.newest, -6.0), 6.0) / 3.0,
                    min(max(found.best, -6.0), 6.0) / 3.0,
                    min(found.age, 8) / 8,
                    *plan.beside(found.words),
                )
    if rows:
        out[rows] = packed(flat, _SAID)
    return out


def _spoken_of(gathered: Sequence[Gathered], sizes: Sequence[int], sources: Sources) -> Floats:
    """Whether arguments are spoken of, and what that means for each alternative that affirms or denies."""
    shares = np.array([sources.talk.of(found.plan.topic, found.plan.explained) for found in gathered], np.float32)
    out = np.empty((sum(sizes), TOPIC_FIGURES), np.float32)
    out[:, :-2] = np.repeat(shares, sizes, axis=0)
    out[:, -2] = [truth_of(key) for found in gathered for _, _, key in found.alternatives]
    np.multiply(out[:, -2], out[:, -3], out=out[:, -1])
    return out


def _meant_for(plan: Plan, sources: Sources) -> list[str]:
    """Values that the user said in other words and that were given to the slot, or to one like it, before."""
    keys = list(sources.meant)
    return [key for key, kind in zip(keys, sources.kinds(plan.slot, keys), strict=True) if kind > 0]


def _told(gathered: Sequence[Gathered], sources: Sources) -> Floats:
    """Was a value said in other words, how lately; is it of the right kind, of another; is it new: [size, _TOLD]."""
    pool, meant = sources.pool.keys, sources.meant
    flat: list[float] = []
    for plan, alternatives, _ in gathered:
        kinds = sources.kinds(plan.slot, [key for _, _, key in alternatives])
        for (place, _, key), kind in zip(alternatives, kinds, strict=True):
            likely, newest = meant[key].told if key in meant else (0.0, 0.0)
            fresh = sources.freshness(pool[place] if place >= 0 else key, key)
            flat += (likely, newest, kind > 0, kind < 0, fresh)
    return packed(flat, _TOLD)
