"""Where the values of one state's slots may come from, beyond lying about in the conversation.

Three learned sources stand beside the candidates: a classifier for each slot whose values are few
(what somebody means decides, the value itself need not be said), a tagger of what the user said, and
affixes (the user says 4711, the tool wants A4711). What this file does not know: how alternatives are
compared (`arguments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.gazetteer import MAX_SHORT, Gazetteer
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.mentions import Heard, Mention, Mentions, mentions_of
from ultracore.distillation.students.compact.paraphrases import Meant, Paraphrases
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.sparse import Linear, Vector
from ultracore.distillation.students.compact.spelling import shortened
from ultracore.distillation.students.compact.tagger import ANY_TOOL, MAX_USER_TURNS, Spoken, Tagger
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.students.compact.topics import Talk

__all__ = ["SILENT", "Alternative", "Echo", "Learned", "Meanings", "Sources", "Table", "forms_of"]

BESIDE = 30
"""Characters before a value, and half as many behind it, that may say what it is."""

Meanings = Mapping[str, Linear]
"""Slot key -> a classifier of its value's text; the class "" means that it is left out."""


class Learned(NamedTuple):
    """What training knows about arguments.

    Attributes:
        knowledge: Counts.
        meanings: Classifiers of slots with few values.
        tagger: Reads what the user said; `None` where no argument was ever spoken.
        mentions: Says what stands around a value; `None` where no argument was spoken often.
        paraphrases: What is said instead of values; `None` where nothing is.
        gazetteer: Which values were given to which arguments.
    """

    knowledge: Knowledge
    meanings: Meanings
    tagger: Tagger | None
    mentions: Mentions | None = None
    paraphrases: Paraphrases | None = None
    gazetteer: Gazetteer = Gazetteer()


class Alternative(NamedTuple):
    """A value that a slot might have.

    Attributes:
        place: Its place among the candidates of the state, -1 for a value from elsewhere.
        value: The value, typed by the schema; `slots.ABSENT` for leaving the slot out.
        key: Its text, "" for `ABSENT`.
    """

    place: int
    value: Any
    key: str


class Echo(NamedTuple):
    """Where the conversation says a value, whatever the slot.

    Attributes:
        last: Share of its words that the user said last; 1 for a value that was said in a shortened form.
        user: The same of all that the user said.
        reply: Share of its words in the agent's last reply.
        at: Where the user's last words have it, as a share of their length; -1 where they do not.
        beside: The words that stand beside it there.
    """

    last: float = 0.0
    user: float = 0.0
    reply: float = 0.0
    at: float = -1.0
    beside: frozenset[str] = frozenset()


SILENT = Echo()
"""Of a value that nobody said."""


class Table(NamedTuple):
    """The alternatives of a slot and their description.

    Attributes:
        alternatives: In order of gathering.
        keys: Their texts.
        rows: What the ranker sees of them, before anything is chosen: [alternatives, features] float32.
    """

    alternatives: list[Alternative]
    keys: list[str]
    rows: NDArray[np.float32]


class Sources:
    """The sources of one state, asked slot by slot.

    Args:
        pool: Its candidate values.
        row: Its sparse features.
        learned: What training knows.

    Attributes:
        pool: As given.
        row: As given.
        tables: Slot key -> its alternatives, once they were gathered.
        text: What the user said last, in small letters.
        words: All words that the user used, and those of the agent's last reply.
        talk: What was said lately.
    """

    def __init__(self, pool: Candidates, row: Vector, learned: Learned) -> None:
        self.pool = pool
        self.knowledge = learned.knowledge
        self.tables: dict[str, Table] = {}
        self.row = row
        self._learned = learned
        self._shares: dict[str, Mapping[str, float]] = {}
        self._spoken: dict[str, list[Spoken]] = {}
        self._heard: dict[tuple[str, str], Heard] = {}
        self._fresh: dict[tuple[str, str], float] = {}
        self._takers: dict[str, frozenset[str]] = {}
        self._odds: dict[str, list[NDArray[np.float32]]] = {}
        self._echoes: dict[str, Echo] = {}
        self.text = pool.transcript.last_user_text.lower()
        self.words = pool.transcript.user_words | pool.transcript.reply_words
        self.talk = Talk(pool.transcript)

    def going_on(self, pool: Candidates, row: Vector) -> Sources:
        """Those of the same conversation with calls pending: nobody has said anything more."""
        other = copy(self)
        other.pool, other.row, other.tables, other._shares = pool, row, {}, {}
        return other

    def echo(self, key: str) -> Echo:
        """Where the conversation says a value, by its text."""
        found = self._echoes.get(key)
        if found is None:
            found = self._echoes[key] = self._echo(key)
        return found

    def _echo(self, key: str) -> Echo:
        forms = forms_of(key)
        said = forms.text
        at = self.text.find(said) if len(said) > 1 else -1
        if at < 0 and forms.any_form.isdisjoint(self.words):
            return SILENT
        t = self.pool.transcript
        user, reply = forms.share_said(t.user_words), forms.share(t.reply_words)
        shares = forms.share_said(t.last_user_words), user, reply
        if at < 0:
            return Echo(*shares)
        end = at + len(said)
        beside = self.text[max(0, at - BESIDE) : at] + " " + self.text[end : end + BESIDE // 2]
        return Echo(*shares, at / len(self.text), frozenset(words_of(beside)))

    def shares(self, slot: Slot) -> Mapping[str, float] | None:
        """Probability of each value text by what is meant; `None` where the slot's values are not few."""
        meanings = self._learned.meanings
        model = next((meanings[r.key] for r in self.knowledge.relatives(slot) if r.key in meanings), None)
        if model is None:
            return None
        if slot.key not in self._shares:
            self._shares[slot.key] = model.softmax(self.row)
        return self._shares[slot.key]

    @cached_property
    def mentioned(self) -> dict[str, list[Mention]]:
        """Where the user said a value, by its text; nothing where no argument was spoken often."""
        if self._learned.mentions is None:
            return {}
        found = mentions_of(self.pool.transcript)
        return found | {key: [*found.get(key, ()), *meant.mentions] for key, meant in self.meant.items()}

    @cached_property
    def meant(self) -> dict[str, Meant]:
        """Values that the user said in other words, by their text."""
        known = self._learned.paraphrases
        return {} if known is None else known.meant(self.pool.transcript)

    def kinds(self, slot: Slot, keys: Iterable[str]) -> list[int]:
        """Whether values, by their text, are of the slot's kind, see `Gazetteer.kind`."""
        known = self._learned.gazetteer
        takers = self._takers.get(slot.key)
        if takers is None:
            names = (key.rpartition("/")[2] for key, _ in self.knowledge.relatives(slot))
            takers = self._takers[slot.key] = known.takers([slot.name, *names])
        return [known.kind(key, takers) for key in keys]

    def freshness(self, said: str, key: str) -> float:
        """How much of a value, by its text as it was said and as it would be given, is new since the last result."""
        found = self._fresh.get((said, key))
        if found is None:
            mentions, forms = self.mentioned.get(said), forms_of(key)
            if mentions is not None and min(mention.age for mention in mentions) < len(self.talk.turns):
                found = 1.0
            else:
                found = 0.0 if forms.any_form.isdisjoint(self.talk.words) else forms.share_said(self.talk.words)
            self._fresh[said, key] = found
        return found

    def spoken_name(self, slot: Slot) -> str:
        """The name by which it was learned what stands around a slot's values: its own, or its nearest relative's."""
        known = self._learned.mentions
        if known is None or known.knows(slot.name):
            return slot.name
        names = (key.rpartition("/")[2] for key, _ in self.knowledge.relatives(slot))
        return next(filter(known.knows, names), slot.name)

    def heard(self, name: str, key: str) -> Heard | None:
        """What stands around a value, by its text, for an argument of this name; `None` if nobody said it."""
        model, found = self._learned.mentions, self.mentioned.get(key)
        if model is None or found is None:
            return None
        place = name, key
        if place not in self._heard:
            if key not in self._odds:
                self._odds[key] = [model.odds(mention) for mention in found]
            self._heard[place] = model.heard(name, found, self._odds[key])
        return self._heard[place]

    def spoken(self, slot: Slot) -> list[Spoken]:
        """Stretches of the user's last turns that may be values of the slot, those of the newest turn first."""
        tagger = self._learned.tagger
        if tagger is None:
            return []
        if slot.tool in tagger.tools:
            return [span for span in self._spans(tagger, slot.tool) if span.slot == slot.key]
        for key, _ in self.knowledge.relatives(slot):
            if (tool := self.knowledge.owner(key)) in tagger.tools:
                return [span for span in self._spans(tagger, tool) if span.slot == key]
        return self._spans(tagger, ANY_TOOL) if ANY_TOOL in tagger.tools else []

    def _spans(self, tagger: Tagger, tool: str) -> list[Spoken]:
        if tool not in self._spoken:
            texts = self.pool.transcript.user_texts[-MAX_USER_TURNS:]
            self._spoken[tool] = tagger.spans(tool, texts[::-1])
        return self._spoken[tool]


class Forms(NamedTuple):
    """How a value may be said.

    Attributes:
        text: Its text in small letters.
        words: Its words.
        short: Its shortened forms.
        any_form: Words and shortened forms.
    """

    text: str
    words: tuple[str, ...]
    short: frozenset[str]
    any_form: frozenset[str]

    def share(self, among: frozenset[str]) -> float:
        """Share of the words that are among others (0..1)."""
        return sum(map(among.__contains__, self.words)) / len(self.words) if self.words else 0.0

    def share_said(self, said: frozenset[str]) -> float:
        """The same; a value that was said in a shortened form was said."""
        share = self.share(said)
        return 1.0 if share < 1.0 and not self.short.isdisjoint(said) else share


def forms_of(key: str) -> Forms:
    """Everything by which a value may be said, by its text."""
    return (_forms if len(key) <= MAX_SHORT else _forms_of_long)(key)


@lru_cache(maxsize=65536)
def _forms(key: str) -> Forms:
    words = tuple(words_of(key))
    short = frozenset(shortened(words))
    return Forms(key.lower(), words, short, short.union(words))


_forms_of_long = lru_cache(maxsize=32)(_forms.__wrapped__)
