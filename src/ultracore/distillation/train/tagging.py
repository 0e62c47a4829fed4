"""Fitting the tagger: which slots are spoken, where in the text their values stand, one CRF for each tool.

A slot is spoken if its values are often found word for word in what the user said last. What this
file does not know: how calls are made of the values (`students.compact.arguments`).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from ultracore.distillation.students.compact.knowledge import gold_values
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.tagger import ANY_TOOL, MAX_USER_TURNS, Tagger, ToolChain, pack_tagger
from ultracore.distillation.students.compact.tokens import Lexicon, Token, Use, describe, phrase_of, tokens_of
from ultracore.distillation.students.compact.transcript import USERS, key_of, scalars
from ultracore.distillation.tools import Tool
from ultracore.distillation.train.crf import fit_crf, pack
from ultracore.distillation.train.examples import Example

__all__ = ["fit_tagger"]

LEAST_VALUES = 5
LEAST_SHARE = 0.3
"""A slot is spoken if at least so many of its values, and such a share of them, stand in the text."""

L2 = 0.3
"""Best calibrated of 0.15, 0.3 and 0.6 on 1,500 held-out sentences; agreement is the same within noise."""

ITERATIONS = 40
"""60 took half as long again, and found no more: of 1,955 held-out values of SNIPS 91.0 % (60: 91.1) were more likely
than not, mean log probability -.254 (-.255); of 592 of SGD 86.2 % (86.2) and -.340 (-.340). 30 said less of SNIPS."""

MIN_COUNT = 2
"""Tokens that a feature must describe; features seen once made it slower and no better."""

LEAST_WEIGHT = 0.02
"""A feature whose largest weight is smaller is left out of the model."""

LEAST_DOUBLE = 0.005
"""Share of sentences with two values from which on a slot is taken to have several; fewer are mistakes."""

MAX_CELLS = 4_000_000
"""Tokens times labels of one tool; of more, a random sample of the sentences is learned from."""


LEAST_SENTENCES = 10
LEAST_TOOLS = 12
LEAST_RARE = 0.1
"""A chain for any tool is fitted if so many tools have fewer sentences than that, and such a share of them all: where
tools are few, it would only take time."""

ANY_SLOT = Slot(f"{ANY_TOOL}/value", ANY_TOOL, ("value",), "scalar", False, {})


class _Sentence(NamedTuple):
    """A text that was followed by a call of a tool.

    Attributes:
        tool: The tool.
        task: The task of the decision.
        tokens: What the user said.
        given: Values of the call as phrases, each with its slot.
    """

    tool: str
    task: str
    tokens: list[Token]
    given: list[tuple[Slot, str]]

    def says(self, phrase: str) -> bool:
        """Whether the text contains a phrase."""
        return f" {phrase} " in f" {' '.join(_words(self.tokens))} "


class _Place(NamedTuple):
    """Where a value stands: number of its slot, first token, the token behind its last."""

    slot: int
    first: int
    end: int


def fit_tagger(
    examples: Sequence[Example], knowledge_slots: Callable[[Tool], tuple[Slot, ...]], *, seed: int = 0
) -> Tagger | None:
    """Learn to find argument values in the user's messages.

    Args:
        examples: Decisions; those are used whose first call has known arguments, and which answer the user
            at once or use a value that the user said.
        knowledge_slots: The slots of a tool (`Knowledge.slots_of`).
        seed: Chooses the sentences where there are too many.

    Returns:
        `None` where no slot is spoken.
    """
    sentences = [s for example in examples for s in _sentences(example, knowledge_slots)]
    spoken = _spoken_slots(sentences)
    strangers = _any_tool(sentences)
    if not spoken and not strangers:
        return None
    names = {_name(slot) for slots in spoken.values() for slot in slots}
    names |= {_name(slot) for sentence in sentences for slot, _ in sentence.given if strangers}
    uses = _uses(sentences, names)
    lexicon = Lexicon.count(uses.values())
    of_tool: dict[str, list[_Sentence]] = defaultdict(list)
    for sentence in sentences:
        of_tool[sentence.tool].append(sentence)
    random = np.random.default_rng(seed)
    chains = [
        _fit_tool(tool, slots, _sample(of_tool[tool], len(slots), random), lexicon, uses)
        for tool, slots in sorted(spoken.items())
    ]
    if strangers:
        chains.append(_fit_tool(ANY_TOOL, [ANY_SLOT], _sample(strangers, 1, random), lexicon, uses))
    return pack_tagger(chains, lexicon)


def _any_tool(sentences: Sequence[_Sentence]) -> list[_Sentence]:
    """The sentences with every value marked alike, where many tools are too rare to be learned one by one."""
    counts = Counter(sentence.tool for sentence in sentences)
    rare = [n for n in counts.values() if n < LEAST_SENTENCES]
    if len(rare) < LEAST_TOOLS or sum(rare) < LEAST_RARE * len(sentences):
        return []
    return [s._replace(tool=ANY_TOOL, given=[(ANY_SLOT, phrase) for _, phrase in s.given]) for s in sentences]


def _sentences(example: Example, knowledge_slots: Callable[[Tool], tuple[Slot, ...]]) -> Iterator[_Sentence]:
    """The user's last turn, and those before it that say a value of the call."""
    transcript, calls = example.transcript, example.decision.calls
    if any(call.name == calls[0].name for call in example.pending if calls):
        return  # its values are marked in the sentence of the first call
    if not calls or calls[0].arguments is None or calls[0].name not in transcript.tools:
        return
    given = [
        (slot, phrase)
        for call in calls
        if call.name == calls[0].name
        for slot in knowledge_slots(transcript.tools[call.name])
        for value in gold_values(slot, call.arguments or {})
        for _, scalar in scalars(value)
        if (phrase := phrase_of(key_of(scalar)))
    ]
    for age, text in enumerate(reversed(transcript.user_texts[-MAX_USER_TURNS:])):
        sentence = _Sentence(calls[0].name, example.decision.task, tokens_of(text), given)
        answers_user = not age and transcript.last.role in USERS
        if sentence.tokens and (answers_user or any(sentence.says(phrase) for _, phrase in given)):
            yield sentence


def _spoken_slots(sentences: Sequence[_Sentence]) -> dict[str, list[Slot]]:
    """The spoken slots of each tool that has any."""
    given: Counter[str] = Counter()
    said: Counter[str] = Counter()
    slots: dict[str, Slot] = {}
    for sentence in sentences:
        for slot, phrase in sentence.given:
            slots[slot.key] = slot
            given[slot.key] += 1
            said[slot.key] += sentence.says(phrase)
    spoken: dict[str, list[Slot]] = defaultdict(list)
    for key in sorted(slots):
        if said[key] >= max(LEAST_VALUES, LEAST_SHARE * given[key]):
            spoken[slots[key].tool].append(slots[key])
    return spoken


def _uses(sentences: Sequence[_Sentence], names: set[str]) -> dict[str, set[Use]]:
    """The phrases that each task gave to arguments of these names."""
    uses: dict[str, set[Use]] = {sentence.task: set() for sentence in sentences}
    for sentence in sentences:
        pairs = (Use(phrase, _name(slot)) for slot, phrase in sentence.given)
        uses[sentence.task].update(use for use in pairs if use.name in names)
    return uses


def _sample(sentences: list[_Sentence], slots: int, random: np.random.Generator) -> list[_Sentence]:
    """Sentences in random order until their cells are too many; all of them, in order, if they fit."""
    labels = 1 + 2 * slots
    if sum(len(s.tokens) for s in sentences) * labels <= MAX_CELLS:
        return sentences
    shuffled = [sentences[i] for i in random.permutation(len(sentences))]
    cells = np.cumsum([len(s.tokens) * labels for s in shuffled])
    return shuffled[: max(1, int((cells <= MAX_CELLS).sum()))]


def _fit_tool(
    tool: str, slots: Sequence[Slot], sentences: Sequence[_Sentence], lexicon: Lexicon, uses: dict[str, set[Use]]
) -> ToolChain:
    number = {slot.key: i for i, slot in enumerate(slots)}
    places = [_places(sentence, number) for sentence in sentences]
    described = [describe(s.tokens, lexicon.without(uses[s.task])) for s in sentences]
    packing = pack([len(tokens) for tokens in described])
    order = [(i, t) for t, block in enumerate(packing.blocks) for i in packing.order[: block.stop - block.start]]
    matrix, features = _matrix([described[i][t] for i, t in order])
    paths = [_path(where, len(s.tokens)) for s, where in zip(sentences, places, strict=True)]
    path = np.array([paths[i][t] for i, t in order])
    fitted = fit_crf(matrix, path, packing, len(slots), l2=L2, iterations=ITERATIONS)
    kept = np.flatnonzero(np.abs(fitted.weights[1:]).max(axis=1) >= LEAST_WEIGHT)
    return ToolChain(
        tool,
        list(number),
        [_is_single(places, i) for i in range(len(slots))],
        [features[i] for i in kept],
        fitted.weights[np.append(0, kept + 1)].astype(np.float16),
        fitted.transitions,
    )


def _places(sentence: _Sentence, number: dict[str, int]) -> list[_Place]:
    """Where the values stand: the longest first, each at the first place that is free."""
    words = _words(sentence.tokens)
    free = [True] * len(words)
    found = []
    wanted = [(number[slot.key], phrase.split(" ")) for slot, phrase in sentence.given if slot.key in number]
    for slot, phrase in sorted(wanted, key=lambda pair: -len(pair[1])):
        n = len(phrase)
        at = (i for i in range(len(words) - n + 1) if words[i : i + n] == phrase and all(free[i : i + n]))
        first = next(at, None)
        if first is not None:
            free[first : first + n] = [False] * n
            found.append(_Place(slot, first, first + n))
    return sorted(found, key=lambda place: place.first)


def _path(places: Sequence[_Place], length: int) -> list[int]:
    """The labels of a sentence's tokens, see `may_follow`."""
    path = [0] * length
    for place in places:
        path[place.first] = 1 + 2 * place.slot
        path[place.first + 1 : place.end] = [2 + 2 * place.slot] * (place.end - place.first - 1)
    return path


def _is_single(places: Sequence[Sequence[_Place]], slot: int) -> bool:
    """Whether hardly any sentence has two values for a slot."""
    counts = np.array([sum(place.slot == slot for place in where) for where in places])
    return bool((counts > 1).sum() <= LEAST_DOUBLE * (counts > 0).sum())


def _matrix(tokens: Sequence[list[str]]) -> tuple[csr_matrix, list[str]]:
    """[tokens, 1 + features], and the features that describe several of them; column 0 is 1 everywhere."""
    numbers: dict[str, int] = defaultdict(itertools.count().__next__)
    found = np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(tokens)), np.int64)
    often = np.bincount(found, minlength=len(numbers)) >= MIN_COUNT
    features = sorted(itertools.compress(numbers, often.tolist()))
    column = np.zeros(len(numbers), np.int32)
    column[[numbers[name] for name in features]] = np.arange(1, len(features) + 1)
    begin = np.cumsum([0, *map(len, tokens)])
    index = np.insert(column[found], begin[:-1], 0)
    kept = index > 0
    kept[begin[:-1] + np.arange(len(tokens))] = True
    pointer = np.concatenate([[0], np.cumsum(kept)])[begin + np.arange(len(begin))]
    shape = len(tokens), 1 + len(features)
    return csr_matrix((np.ones(int(pointer[-1])), index[kept], pointer), shape=shape), features


def _words(tokens: Sequence[Token]) -> list[str]:
    return [token.text.lower() for token in tokens]


def _name(slot: Slot) -> str:
    """The argument's own name without white space, as the lexicon is stored in lines."""
    return "_".join(slot.name.split())
