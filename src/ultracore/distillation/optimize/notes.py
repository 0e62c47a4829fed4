"""A reflection without a language model: notes on tools, mined from the mistakes; the same each time.

For each answer that a prompt missed, the words and pairs of words that tell it from the other answers of the
training part become its note. Feedback that names no answer becomes a rule. What this file does not know: who reads
the notes, and whether they help (the search finds out).
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ultracore.distillation.optimize.examples import Shown, shown
from ultracore.distillation.optimize.journal import Journal
from ultracore.distillation.optimize.reflection import Observation, ReflectionFailed
from ultracore.distillation.students.prompted.prompt import Note, Prompt, one_line, parse_prompt, render_prompt
from ultracore.distillation.students.prompted.reading import words_of

__all__ = ["NotesReflection"]

PHRASES = 30
"""Added to a note at a time."""

MOST = 60
"""Phrases of a note."""

RULES = 3
MAX_RULE = 300
REPEATED = 1.3
LEAST_SEEN = 2
"""Examples of an answer that must have a phrase, where there are so many at all."""

_NUMBER = re.compile(r"\d")
"""No phrase has one: it would be somebody's order."""


class NotesReflection:
    """Mines notes.

    Args:
        train: The training part: what tells one answer from another is counted there.
    """

    name = "notes"

    def __init__(self, train: Sequence[Any]) -> None:
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._total: Counter[str] = Counter()
        self._examples: Counter[str] = Counter()
        for said in map(shown, train):
            self._count(said)

    def check(self) -> None:
        """Always there."""

    def propose(self, prompt: str, seen: Sequence[Observation], journal: Journal) -> str:
        """See `Reflection`."""
        mistakes = [s for s in seen if s.score < 1.0]
        parsed = parse_prompt(prompt)
        notes = dict(parsed.notes)
        missed = {m.answer for m in mistakes if self._examples[m.answer]}
        # a tool without a note would lose to those that have one: the first mistakes give one to each
        for answer in sorted(missed | (self._examples.keys() - notes.keys() if missed else set())):
            notes[answer] = self._better(answer, notes.get(answer, Note()))
        rules = _rules(mistakes, parsed.instructions, self._examples)
        if notes == dict(parsed.notes) and not rules:
            raise ReflectionFailed("the mistakes hold nothing that is not in the prompt yet")
        instructions = "\n".join([parsed.instructions, *(f"- {rule}" for rule in rules)])
        return render_prompt(Prompt(instructions, notes, parsed.demonstrations))

    def _count(self, said: Shown) -> None:
        if said.answer and said.verified and _is_name(said.answer):
            phrases = set(_phrases(said.input))
            self._counts[said.answer].update(phrases)
            self._total.update(phrases)
            self._examples[said.answer] += 1

    def _better(self, answer: str, note: Note) -> Note:
        """The note with the next strongest phrases, and how often the answer is given."""
        known = set(note.words)
        strongest = [phrase for phrase in self._ranked(answer) if phrase not in known][:PHRASES]
        share = round(100 * self._examples[answer] / self._examples.total())
        return Note((*note.words, *strongest)[:MOST], note.against, share or None)

    def _ranked(self, answer: str) -> list[str]:
        """Phrases by how often they come with the answer, times how much more often than without it."""
        counts, n = self._counts[answer], self._examples[answer]
        rest = max(1, self._examples.total() - n)
        weight = {
            phrase: count * math.log((count / n) / ((self._total[phrase] - count + 0.5) / rest))
            for phrase, count in counts.items()
            if count >= min(LEAST_SEEN, n)
        }
        ranked = sorted((p for p in weight if weight[p] > 0), key=lambda p: (-weight[p], p))
        return list(_fresh(ranked, counts))


def _rules(mistakes: Sequence[Observation], known: str, answers: Mapping[str, int]) -> list[str]:
    """What was said most often of mistakes whose answer is no tool's name."""
    said = Counter(one_line(m.feedback, MAX_RULE) for m in mistakes if m.feedback and not answers.get(m.answer))
    fresh = [(count, text) for text, count in said.items() if text not in known]
    return [text for _, text in sorted(fresh, key=lambda pair: (-pair[0], pair[1]))[:RULES]]


def _fresh(ranked: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    """Without the pairs that come nearly as often as one of their words, which stands before them."""
    before: set[str] = set()
    for phrase in ranked:
        words = phrase.split(" ")
        if len(words) == 1 or not any(word in before and counts[word] <= REPEATED * counts[phrase] for word in words):
            yield phrase
        before.add(phrase)


def _is_name(answer: str) -> bool:
    return not any(c.isspace() for c in answer) and len(answer) <= 100


def _phrases(text: str) -> Iterable[str]:
    words = words_of(text)
    return (
        phrase for phrase in [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))] if not _NUMBER.search(phrase)
    )
