"""Finding argument values in what the user said: for each tool a CRF over the tokens, numpy alone.

Made of a JSON-able config and named arrays, so that an artefact can hold it. What this file does not
know: how it was fitted (`train.tagging`), and which of the values make a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.crf import Chain, Span
from ultracore.distillation.students.compact.tokens import Counts, Lexicon, Token, describe, tokens_of

__all__ = [
    "ANY_TOOL",
    "MAX_USER_TURNS",
    "Reading",
    "Spoken",
    "Tagger",
    "ToolChain",
    "pack_lines",
    "pack_tagger",
    "unpack_lines",
]

Array = NDArray[Any]

REMEMBERED = 2048
"""Texts read: the turns of a dialogue come again with every decision."""

MAX_USER_TURNS = 6
"""Of the user's turns, the last ones are read."""

ANY_TOOL = "*"
"""Reads values for tools that have no chain of their own; it does not say for which argument."""


class Spoken(NamedTuple):
    """A value that the user said.

    Attributes:
        slot: Key of the slot, `tool/path/to/argument`.
        value: As it was written.
        start: Offset of its first character.
        probability: That exactly this stretch is a value of this slot (0..1).
    """

    slot: str
    value: str
    start: int
    probability: float


class Reading(NamedTuple):
    """What a text says for a tool.

    Attributes:
        best: The values of the likeliest labelling, in order of the text.
        probability: That this labelling is right as a whole (0..1).
        spans: Every value that is at least 5 % likely, in order of the text, likelier first.
    """

    best: tuple[Spoken, ...]
    probability: float
    spans: tuple[Spoken, ...]


class ToolChain(NamedTuple):
    """The fitted weights of one tool.

    Attributes:
        tool: Its name.
        slots: Keys of its spoken slots.
        single: For each of them, whether a text gives it one value at most.
        features: Feature names; the first row of `weights` belongs to every token and has none.
        weights: [1 + features, 1 + 2 * slots] float16.
        transitions: [labels + 1, labels] float32; the last row is for the first token.
    """

    tool: str
    slots: list[str]
    single: list[bool]
    features: list[str]
    weights: Array
    transitions: Array


class Tagger:
    """Reads the values of arguments out of a text.

    Args:
        config: `tools`: for each its name (`tool`), the keys of its `slots`, and whether each is `single`.
        arrays: As `pack_tagger` makes them.

    Attributes:
        config: As given; JSON-able.
        arrays: As given; for an artefact.
        tools: The tools that it can read values for.
    """

    def __init__(self, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.config = dict(config)
        self.arrays = dict(arrays)
        self._lexicon = Lexicon(_unpack_counts(arrays["phrases"]), _unpack_counts(arrays["words"]))
        self._slots: dict[str, list[str]] = {entry["tool"]: entry["slots"] for entry in config["tools"]}
        self._chains = {entry["tool"]: _chain(i, entry, arrays) for i, entry in enumerate(config["tools"])}
        self.tools = tuple(self._chains)
        self._described: tuple[str, list[Token], list[list[str]]] = ("", [], [])
        self._spans: dict[tuple[str, str], tuple[Spoken, ...]] = {}

    def read(self, tool: str, text: str) -> Reading:
        """What a text says for a tool; of a long text the last 200 tokens are read.

        Raises:
            KeyError: The tool is not among `tools`.
        """
        tokens, features = self._describe(text)
        best, probability, likely = self._chains[tool].decode(features)
        found = [tuple(_spoken(span, self._slots[tool], text, tokens) for span in spans) for spans in (best, likely)]
        return Reading(found[0], probability, found[1])

    def spans(self, tool: str, texts: Sequence[str]) -> list[Spoken]:
        """`Reading.spans` of one text after the other, remembered.

        Raises:
            KeyError: The tool is not among `tools`.
        """
        found = {text: self._spans.get((tool, text)) for text in texts}
        fresh = [text for text, spans in found.items() if spans is None]
        for text, spans in zip(fresh, self._likely(tool, fresh), strict=True):
            if len(self._spans) >= REMEMBERED:
                self._spans.clear()
            found[text] = self._spans[tool, text] = spans
        return [span for text in texts for span in found[text] or ()]

    def _likely(self, tool: str, texts: Sequence[str]) -> list[tuple[Spoken, ...]]:
        described = [self._describe(text) for text in texts]
        likely = iter(self._chains[tool].likely([features for _, features in described if features]))
        slots = self._slots[tool]
        return [
            tuple([_spoken(span, slots, text, tokens) for span in next(likely)]) if tokens else ()
            for text, (tokens, _) in zip(texts, described, strict=True)
        ]

    def _describe(self, text: str) -> tuple[list[Token], list[list[str]]]:
        """Tokens and features of a text; the last one is remembered, several tools are asked about it."""
        known, tokens, features = self._described
        if known != text:
            tokens = tokens_of(text)
            features = describe(tokens, self._lexicon)
            self._described = text, tokens, features
        return tokens, features


def pack_tagger(chains: Sequence[ToolChain], lexicon: Lexicon) -> Tagger:
    """A tagger from fitted chains and the lexicon that their features were made with."""
    config = {"tools": [{"tool": c.tool, "slots": c.slots, "single": c.single} for c in chains]}
    arrays = {"phrases": _pack_counts(lexicon.phrases), "words": _pack_counts(lexicon.words)}
    for i, chain in enumerate(chains):
        arrays[f"{i}/features"] = pack_lines(chain.features)
        arrays[f"{i}/weights"] = chain.weights
        arrays[f"{i}/transitions"] = chain.transitions
    return Tagger(config, arrays)


def pack_lines(lines: Sequence[str]) -> NDArray[np.uint8]:
    """Texts without line breaks as one array of UTF-8 bytes; surrogates pass."""
    return np.frombuffer("\n".join(lines).encode("utf-8", "surrogatepass"), np.uint8)


def unpack_lines(packed: Array) -> list[str]:
    """The texts that `pack_lines` packed."""
    text = packed.astype(np.uint8).tobytes().decode("utf-8", "surrogatepass")
    return text.split("\n") if text else []


def _pack_counts(counts: Counts) -> NDArray[np.uint8]:
    return pack_lines([f"{key}\t{name}\t{n}" for key, names in counts.items() for name, n in names.items()])


def _unpack_counts(packed: Array) -> Counts:
    counts: Counts = {}
    for line in unpack_lines(packed):
        key, name, n = line.split("\t")
        counts.setdefault(key, {})[name] = int(n)
    return counts


def _chain(number: int, entry: Mapping[str, Any], arrays: Mapping[str, Array]) -> Chain:
    features = unpack_lines(arrays[f"{number}/features"])
    return Chain(
        {name: row for row, name in enumerate(features, start=1)},
        arrays[f"{number}/weights"],
        arrays[f"{number}/transitions"],
        entry["single"],
    )


def _spoken(span: Span, slots: Sequence[str], text: str, tokens: Sequence[Token]) -> Spoken:
    start, end = tokens[span.first].start, tokens[span.end - 1].end
    return Spoken(slots[span.slot], text[start:end], start, span.probability)
