"""Fitting the evidence: linear models, n-grams, intents and argument counts on some of the decisions.

What this file does not know: folds, and the rankers that weigh the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.compact.actions import OTHER, ActionEvidence, Ngrams
from ultracore.distillation.students.compact.arguments import Question, question_for
from ultracore.distillation.students.compact.knowledge import Knowledge, gold_values
from ultracore.distillation.students.compact.slots import ABSENT, Slot, value_at
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import CompiledEncoder, Linear, Vector
from ultracore.distillation.students.compact.tables import lay_out
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.train.bayes import fit_bayes
from ultracore.distillation.train.examples import Example, Prepared
from ultracore.distillation.train.forest import fit_forest
from ultracore.distillation.train.gazetteers import fit_gazetteer
from ultracore.distillation.train.linear import UNHEARD, Chosen, choose_strength, fit_multilabel, fit_softmax
from ultracore.distillation.train.meanings import fit_meanings
from ultracore.distillation.train.mentioning import fit_mentions
from ultracore.distillation.train.paraphrasing import fit_paraphrases
from ultracore.distillation.train.tagging import fit_tagger

__all__ = ["Asked", "fit_evidence", "questions_of", "strength_for", "votes_help"]

LEAST_EXAMPLES = 3
"""Of an action, before the linear models tell it from other rare ones."""

LEAST_GAIN = 0.08
"""Nats a decision, see `votes_help`: .12 to .14 on telecom-solo, whose whole calls got better. On tau2 telecom and
tau-bench airline trees gained up to .04, and no more whole calls were right."""


class Asked(NamedTuple):
    """A choice that the teacher made.

    Attributes:
        question: The alternatives.
        right: [alternatives] 1 for what the teacher chose; all 0 where it is not among them.
    """

    question: Question
    right: NDArray[np.float32]


def fit_evidence(
    examples: Sequence[Example],
    prepared: Prepared,
    schemas: Mapping[str, dict[str, Any]],
    comparators: Comparators,
    seed: int,
    strength: float,
    *,
    votes: bool,
    words: Linear | None = None,
) -> ActionEvidence:
    """Fit everything below the rankers.

    Args:
        examples: The decisions to learn from.
        prepared: All decisions: their encoder, and habits that need no fold.
        schemas: Schemas inferred for tools without one.
        comparators: Which arguments are free text.
        seed: Seed of the tagger and of the forest.
        strength: From `strength_for`.
        votes: Whether trees are grown, which vote for actions; see `votes_help`.
        words: The linear model of the words, if it was fitted on these examples already.
    """
    encoder = prepared.encoder
    rows = [e.row for e in examples]
    labels = _frequent([e.decision.action for e in examples])
    weights = np.array([e.decision.weight for e in examples])
    ngrams = Ngrams({})
    for example in examples:
        ngrams.add(example.transcript.actions, example.decision.action)
    decisions, pools = [e.decision for e in examples], [e.pool for e in examples]
    knowledge = Knowledge.count(decisions, pools, dict(schemas), comparators.free_text)
    knowledge.together, knowledge.alone = prepared.habits
    paraphrases = fit_paraphrases(examples, knowledge)
    words = words or fit_softmax(rows, encoder.offsets["history"], labels, weights, c=strength)
    return ActionEvidence(
        encoder=encoder,
        structure=fit_softmax(rows, encoder.structure_width, labels, weights, c=0.7),
        words=words,
        intents=_fit_intents(examples, encoder),
        ngrams=ngrams,
        learned=Learned(
            knowledge,
            fit_meanings(examples, encoder, knowledge),
            fit_tagger(examples, knowledge.slots_of, seed=seed),
            fit_mentions(examples, knowledge, paraphrases),
            paraphrases,
            fit_gazetteer(examples, knowledge),
        ),
        prompts=prepared.prompts,
        forest=fit_forest(rows, labels, weights, words, seed) if votes else None,
        bayes=fit_bayes(rows, (encoder.structure_width, encoder.offsets["history"]), labels, weights),
    )


def votes_help(evidence: ActionEvidence, held: Sequence[Example]) -> bool:
    """Whether the words' linear model says more of these examples' actions when averaged with the forest.

    More: the gain in log loss exceeds LEAST_GAIN a decision, and its standard error over whole tasks.
    """
    forest, gains = evidence.forest, dict[Any, float]()
    if forest is None or not held:
        return False
    for example, unit in zip(held, units_of([e.decision for e in held]), strict=True):
        action = example.decision.action
        alone = evidence.words.softmax(example.row).get(action, 0.0)
        both = 0.5 * (alone + forest.shares(example.row).get(action, 0.0))
        gains[unit] = gains.get(unit, 0.0) + float(np.log(both + UNHEARD) - np.log(alone + UNHEARD))
    gained = np.array(list(gains.values()))
    least = max(LEAST_GAIN * len(held) / len(gained), float(gained.std()) / np.sqrt(len(gained)))
    return bool(gained.mean() > least)


def strength_for(examples: Sequence[Example], held: Sequence[Example], encoder: CompiledEncoder) -> Chosen:
    """How freely the words may speak: the penalty that suits held examples best, and the model fitted with it."""
    labels = _frequent([e.decision.action for e in examples])
    weights = np.array([e.decision.weight for e in examples])
    known = set(labels)
    wanted = [e.decision.action if e.decision.action in known else OTHER for e in held]
    rows, held_rows = [e.row for e in examples], [e.row for e in held]
    return choose_strength(rows, encoder.offsets["history"], labels, weights, (held_rows, wanted))


def _frequent(actions: Sequence[str]) -> list[str]:
    """The actions, rare ones under one name: thousands of classes of one example each teach nothing."""
    counts = Counter(actions)
    return [action if counts[action] >= LEAST_EXAMPLES else OTHER for action in actions]


def _fit_intents(examples: Sequence[Example], encoder: CompiledEncoder) -> Linear:
    """One row for each user turn, the user's words alone; none where every episode is a single decision."""
    first: dict[tuple[str, int], int] = {}
    alone = [example for example in examples if not example.pending]
    for number, example in enumerate(alone):
        first.setdefault((example.decision.episode, example.transcript.actions.count("U")), number)
    if len(first) == len(alone):
        return fit_multilabel([], 0, [], c=4.0)
    chosen = sorted(first.values())
    begin = encoder.offsets["history"]
    spoken = [_from_column(alone[number].row, begin) for number in chosen]
    return fit_multilabel(spoken, encoder.width, [alone[number].later for number in chosen], c=4.0)


def _from_column(row: Vector, begin: int) -> Vector:
    kept = row.columns >= begin
    return Vector(row.columns[kept], row.amounts[kept])


def questions_of(example: Example, sources: Sources) -> list[Asked]:
    """The choices behind the teacher's own call, slot by slot, given its earlier choices."""
    asked: list[Asked] = []
    knowledge = sources.knowledge
    for call in example.decision.calls[:1]:
        if call.arguments is None or call.name not in example.transcript.tools:
            continue
        before: list[tuple[Slot, Any]] = []
        slots = knowledge.slots_of(example.transcript.tools[call.name])
        lay_out([slot for slot in slots if slot.key not in knowledge.free_text], sources)
        for slot in slots:
            values = gold_values(slot, call.arguments)
            if slot.key not in knowledge.free_text:
                asked += _slot_questions(sources, slot, values, before)
            before.append((slot, (values[0] if slot.kind in ("scalar", "whole") else values) if values else ABSENT))
    return asked


def _slot_questions(sources: Sources, slot: Slot, values: list[Any], before: Sequence[tuple[Slot, Any]]) -> list[Asked]:
    if slot.kind == "objects":
        return _element_questions(sources, slot, values, before)
    asked = []
    for step in range(len(values) + 1 if slot.repeats else 1):
        question = question_for(slot, sources, before, values[:step] if slot.repeats else ())
        asked.append(_mark(question, values[step] if step < len(values) else ABSENT))
    return asked


def _element_questions(
    sources: Sources, slot: Slot, elements: list[Any], before: Sequence[tuple[Slot, Any]]
) -> list[Asked]:
    """Each element's slots in turn, then the question that ends the array."""
    asked = []
    taken: list[Any] = []
    for element in [*elements, {}]:
        filled: list[tuple[Slot, Any]] = []
        for part in slot.items:
            value = value_at(element, part.path)
            known = taken if part.repeats else ()
            asked.append(_mark(question_for(part, sources, [*before, *filled], known), value))
            filled.append((part, value))
            if not element:
                break
        taken.append(filled[0][1])
    return asked


def _mark(question: Question, value: Any) -> Asked:
    if value is ABSENT:
        return Asked(question, np.array([offered is ABSENT for offered in question.values], np.float32))
    pairs, wanted = zip(question.values, question.keys, strict=True), key_of(value)
    return Asked(question, np.array([offered is not ABSENT and key == wanted for offered, key in pairs], np.float32))
