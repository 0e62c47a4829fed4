"""A student that does what the text of a prompt says, without any language model: it compares words.

Each tool offered, and the reply, is scored by how its name and description, its note and its demonstrations match
the state. So a prompt can be optimized, and a new tool be called, where there is neither a model nor data. It
chooses tools only: arguments that a tool needs are missing, and the gate sends no such call. What this file does
not know: how a prompt comes about.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TypeAlias

from ultracore.distillation.decisions import State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.prompted.prompt import Note, parse_prompt
from ultracore.distillation.students.prompted.reading import PIECE_MARK, features, state_text
from ultracore.distillation.tools import REPLY, Tool, ToolCall, fingerprint

__all__ = ["Reader"]

VERSION = 2
"""2: notes count over the square root of the length of what is read, and how often a tool is chosen counts."""

NOTE = 0.3
"""What a phrase of a note counts, times its rarity, over the square root of the phrases read: without that root, length
decided in long conversations. On 600 training rows each of MetaTool, Banking77 and tau2 telecom, 0.3 was the best of
0.1, 0.15, 0.2 and 0.3, by 0.1 to 3 points over 0.1."""

USUAL = 0.1
"""What the logarithm of a tool's share counts. On four divisions of the training rows of tau2 telecom, whole notes
chose right in 45 % without it, 53 % with 0.08 and 56 % with 0.15; on Banking77, where every tool is rare, it changed
nothing."""

UNUSUAL = 0.5
"""Per cent: the share of a tool whose note names none, where others do."""

FADE = 0.9
"""How much less the last phrase of a note counts than the first."""

SHOWN = 0.5
"""What the most similar demonstration counts, beside the description."""

SHARPNESS = 12.0
"""Of the confidence; it only has to rank."""

_REPLY = Tool(REPLY, "Reply with text: ask the user, explain, confirm, or say that it is done.")

Bag: TypeAlias = dict[str, float]
Postings: TypeAlias = dict[str, list[tuple[int, float]]]


class Reader:
    r"""Reads a prompt.

    Args:
        prompt: Any text; notes and demonstrations in the form of `students.prompted.prompt` count.

    Example:
        >>> tools = [Tool("refund"), Tool("track")]
        >>> reader = Reader("## Notes\n- refund: money back")
        >>> reader.propose(State([{"role": "user", "content": "my money back please"}], tools)).action
        'refund'
    """

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self._parsed = parse_prompt(prompt)
        self._indexed: tuple[_Described, _Index] | None = None

    @property
    def model_id(self) -> str:
        """Changes with the prompt."""
        return fingerprint(["reader", VERSION, self.prompt])

    def propose(self, state: State) -> Proposal:
        """The tool that fits best; its arguments where it takes none."""
        tools = (*sorted(state.tools, key=lambda tool: tool.name), _REPLY)
        scores = self._scores(state_text(state), tools)
        best = max(range(len(tools)), key=lambda i: scores[i])
        confidence = 1 / sum(math.exp(SHARPNESS * (score - scores[best])) for score in scores)
        tool = tools[best]
        if tool.name == REPLY:
            return Proposal((), confidence)
        call = ToolCall(tool.name, None if tool.takes_arguments else {})
        return Proposal((call,), confidence, tuple(f"{tool.name}.{name}" for name in sorted(tool.required)))

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """As `propose` on each state."""
        return [self.propose(state) for state in states]

    def _scores(self, text: str, tools: Sequence[Tool]) -> list[float]:
        seen = features(text)
        described = _described(tuple((tool.name, tool.description) for tool in tools))
        query = described.weighed(seen)
        scores = described.similarities(query)
        shown = self._similar_demonstrations(query, described)
        note = NOTE / math.sqrt(max(1, sum(not phrase.startswith(PIECE_MARK) for phrase in seen)))
        for i, tool in enumerate(tools):
            scores[i] += note * self._noted(tool.name, seen) + SHOWN * shown.get(tool.name, 0.0)
            scores[i] += USUAL * self._usual.get(tool.name, 0.0)
        return scores

    def _noted(self, name: str, seen: Mapping[str, float]) -> float:
        weights = self._notes.get(name)
        return sum(weights[phrase] for phrase in weights.keys() & seen.keys()) if weights else 0.0

    @cached_property
    def _notes(self) -> dict[str, Bag]:
        """Weight of each phrase: less the more notes have it, and the later it stands in its own."""
        notes = self._parsed.notes
        shared = Counter(phrase for note in notes.values() for phrase in note.words)
        return {name: _weights(note, shared, len(notes)) for name, note in notes.items()}

    @cached_property
    def _usual(self) -> Bag:
        """How much more often than unusual each tool is chosen, as a logarithm."""
        shares = {name: note.share for name, note in self._parsed.notes.items()}
        return {name: math.log(max(share, UNUSUAL) / UNUSUAL) for name, share in shares.items() if share is not None}

    def _similar_demonstrations(self, query: Bag, described: _Described) -> Bag:
        """Similarity of the most similar demonstration of each answer."""
        best: Bag = {}
        shown = self._parsed.demonstrations
        if shown:
            for demonstration, similarity in zip(shown, self._index(described).similarities(query), strict=True):
                answer = demonstration.answer
                best[answer] = max(best.get(answer, 0.0), similarity)
        return best

    def _index(self, described: _Described) -> _Index:
        """The demonstrations, words weighed as these descriptions weigh them."""
        if self._indexed is None or self._indexed[0] is not described:
            bags = [described.weighed(features(shown.input)) for shown in self._parsed.demonstrations]
            self._indexed = described, _Index(bags)
        return self._indexed[1]


class _Index:
    """Bags of words to compare with."""

    def __init__(self, bags: Sequence[Bag]) -> None:
        self._size = len(bags)
        self._postings: Postings = defaultdict(list)
        for i, bag in enumerate(bags):
            for phrase, weight in bag.items():
                self._postings[phrase].append((i, weight))

    def similarities(self, query: Bag) -> list[float]:
        """Cosine with each bag."""
        found = [0.0] * self._size
        for phrase, weight in query.items():
            for i, other in self._postings.get(phrase, ()):
                found[i] += weight * other
        return found


class _Described(_Index):
    """Names and descriptions of tools; a word that many have says little."""

    def __init__(self, texts: Iterable[str]) -> None:
        bags = [features(text) for text in texts]
        self._shared = Counter(phrase for bag in bags for phrase in bag)
        self._many = len(bags)
        super().__init__([self.weighed(bag) for bag in bags])

    def weighed(self, bag: Mapping[str, float]) -> Bag:
        """The bag with rare words up, of length 1."""
        weights = {
            phrase: count * math.log(1 + self._many / (self._shared[phrase] + 0.5)) for phrase, count in bag.items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {phrase: weight / length for phrase, weight in weights.items()}


@lru_cache(maxsize=64)
def _described(tools: tuple[tuple[str, str], ...]) -> _Described:
    return _Described(f"{name} {name} {description}" for name, description in tools)


def _weights(note: Note, shared: Mapping[str, int], notes: int) -> Bag:
    weights: Bag = {}
    for sign, phrases in ((1.0, note.words), (-1.0, note.against)):
        for place, phrase in enumerate(phrases):
            rarity = math.log(1 + notes / max(1, shared[phrase]))
            weights[phrase] = sign * (1 - FADE * place / len(phrases)) * rarity
    return weights
