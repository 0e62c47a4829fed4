"""Decoding a linear-chain CRF (Lafferty et al. 2001): likeliest labelling, its probability, likely spans.

Labels are O, B-k and I-k for slot k. What this file does not know: words, slots' names, and how
weights are fitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chain", "Decoded", "Span", "may_follow"]

Doubles = NDArray[np.float64]

LEAST_MARGINAL = 0.05
"""Spans less likely than this are not worth a candidate."""

MAX_REPAIRS = 3
"""Slots that may get back to one value in one sentence; more happens in no sentence that means one call."""

TINY = 1e-300


def may_follow(slots: int) -> Doubles:
    """[labels + 1, labels] 1 where a label may follow another, or (last row) begin a text, else 0.

    Label 0 is O; 1 + 2k begins a value of slot k, and 2 + 2k continues it.
    """
    labels = 1 + 2 * slots
    allowed = np.ones((labels + 1, labels))
    inside = np.arange(2, labels, 2)
    allowed[:, inside] = 0.0
    allowed[inside - 1, inside] = allowed[inside, inside] = 1.0
    return allowed


class Span(NamedTuple):
    """Consecutive tokens that are one value.

    Attributes:
        slot: Number of the slot.
        first: Its first token.
        end: The token behind its last.
        probability: That exactly these tokens are one value of this slot (0..1).
    """

    slot: int
    first: int
    end: int
    probability: float


class Decoded(NamedTuple):
    """What a chain says of a sentence.

    Attributes:
        best: Spans of the likeliest labelling, in order.
        probability: Of that labelling (0..1).
        likely: All spans that are at least 5 % likely, in order of their first token, likelier first.
    """

    best: list[Span]
    probability: float
    likely: list[Span]


class Chain:
    """A fitted CRF.

    Args:
        rows: Feature name -> row of `weights`; row 0 belongs to every token.
        weights: [features, 1 + 2 * slots].
        transitions: [labels + 1, labels]; the last row is for the first token.
        single: For each slot, whether a sentence gives it one value at most.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        weights: NDArray[np.floating],
        transitions: NDArray[np.floating],
        single: Sequence[bool],
    ) -> None:
        self.rows = rows
        self.weights = np.asarray(weights, np.float32)
        self.single = list(single)
        allowed = may_follow(len(self.single))
        steps = np.where(allowed > 0, np.asarray(transitions, np.float64), -np.inf)
        self.first, self.incoming = steps[-1], np.ascontiguousarray(steps[:-1].T)
        self.factors = np.exp(np.stack([steps[:-1], steps[:-1].T]))
        self.begin = np.stack([np.exp(self.first), np.ones_like(self.first)])[:, None, :]

    def decode(self, features: Sequence[Sequence[str]]) -> Decoded:
        """Read a sentence.

        Args:
            features: For each token, the names of its features; unknown ones are passed over.
        """
        if not features:
            return Decoded([], 1.0, [])
        (lattice,) = self._lattices([features])
        path, score = self._best(lattice.scores, lattice)
        probability = min(1.0, float(np.exp(score - lattice.log_total)))
        return Decoded([lattice.rate(span) for span in _spans(path)], probability, lattice.likely())

    def likely(self, sentences: Sequence[Sequence[Sequence[str]]]) -> list[list[Span]]:
        """`Decoded.likely` alone, of several sentences that have features, in a fraction of the time."""
        return [lattice.likely() for lattice in self._lattices(sentences)]

    def _lattices(self, sentences: Sequence[Sequence[Sequence[str]]]) -> list[_Lattice]:
        if not sentences:
            return []
        scores = [self._scores(features) for features in sentences]
        tops = [each.max(axis=1) for each in scores]
        emits = [np.exp(each - top[:, None]) for each, top in zip(scores, tops, strict=True)]
        messages = _messages(emits, self)
        return [_Lattice(*one, self) for one in zip(scores, tops, messages, strict=True)]

    def _scores(self, features: Sequence[Sequence[str]]) -> Doubles:
        """[tokens, labels] log potentials."""
        rows: list[int] = []
        begin: list[int] = []
        get = self.rows.get
        for names in features:
            begin.append(len(rows))
            rows.append(0)
            rows += filter(None, map(get, names))  # no name has row 0
        return np.add.reduceat(self.weights[rows], begin, axis=0).astype(np.float64)

    def _best(self, scores: Doubles, lattice: _Lattice) -> tuple[list[int], float]:
        """The likeliest labelling, repaired where a slot that takes one value has several."""
        path, score = self._viterbi(scores)
        for _ in range(MAX_REPAIRS):
            rivals = self._rivals(path)
            if not rivals:
                break
            scores = _keep_only(scores, max(rivals, key=lambda span: lattice.rate(span).probability))
            path, score = self._viterbi(scores)
        return path, score

    def _rivals(self, path: Sequence[int]) -> list[Span]:
        """The spans of the first slot that has several against its habit."""
        begun = Counter(label // 2 for label in path if label % 2)
        for slot, times in begun.items():
            if times > 1 and self.single[slot]:
                return [span for span in _spans(path) if span.slot == slot]
        return []

    def _viterbi(self, scores: Doubles) -> tuple[list[int], float]:
        best = self.first + scores[0]
        every = np.arange(len(best))
        back = []
        for row in scores[1:]:
            reach = self.incoming + best
            came = reach.argmax(axis=1)
            back.append(came)
            best = reach[every, came] + row
        path = [int(best.argmax())]
        for came in reversed(back):
            path.append(int(came[path[-1]]))
        return path[::-1], float(best.max())


class _Lattice:
    """What the messages of one sentence say; `top` are the scores that its emissions were divided by."""

    def __init__(self, scores: Doubles, top: Doubles, messages: tuple[Doubles, Doubles, float], chain: Chain) -> None:
        self.scores = scores
        ahead, behind, log_scale = messages
        self.log_total = float(log_scale + top.sum())
        rest = np.ones_like(scores)
        rest[:-1] = behind[1:] @ chain.factors[1]
        shares = ahead * rest
        shares /= shares.sum(axis=1, keepdims=True)
        self.begins = shares[:, 1::2]
        self.goes_on = np.zeros((len(scores), 2, self.begins.shape[1]))
        """[tokens, 2, slots] that a value that begins (0) or goes on (1) here goes on at the next token."""
        arrive = behind[1:, 2::2]
        for kind, start in enumerate((1, 2)):
            step = np.diagonal(chain.factors[0][start::2, 2::2])
            self.goes_on[:-1, kind] = step * arrive / np.maximum(rest[:-1, start::2], TINY)

    def likely(self) -> list[Span]:
        """Every span that is likely enough."""
        starts = np.argwhere(self.begins >= LEAST_MARGINAL).tolist()
        found = [s for i, slot in starts for s in self._from(slot, i) if s.probability >= LEAST_MARGINAL]
        return sorted(found, key=lambda span: (span.first, -span.probability))

    def rate(self, span: Span) -> Span:
        """The span with its probability."""
        return next(s for s in self._from(span.slot, span.first, span.end) if s.end == span.end)

    def _from(self, slot: int, first: int, until: int = 0) -> Iterator[Span]:
        """Spans that begin at a token; up to `until`, if given, else as long as there is probability left."""
        share = float(self.begins[first, slot])
        for end in range(first + 1, len(self.begins) + 1):
            more = share * min(1.0, float(self.goes_on[end - 1, int(end - 1 > first), slot]))
            yield Span(slot, first, end, share - more)
            share = more
            if end >= until and share < LEAST_MARGINAL:
                break


def _messages(emits: Sequence[Doubles], chain: Chain) -> list[tuple[Doubles, Doubles, float]]:
    """Forward and backward messages, emissions included, each scaled to one (Rabiner 1989); log of the forward scales.

    Both are the same recursion, one with the emissions reversed and the factors transposed. All sentences go through
    it together; what comes behind the end of a shorter one is not looked at.
    """
    sizes = [len(emit) for emit in emits]
    both = np.ones((max(sizes), len(emits), 2, 1, emits[0].shape[1]))
    for number, (emit, n) in enumerate(zip(emits, sizes, strict=True)):
        both[:n, number, 0, 0] = emit
        both[:n, number, 1, 0] = emit[::-1]
    out = np.empty_like(both)
    scales = np.empty((*both.shape[:-1], 1))
    now = both[0] * chain.begin
    for i in range(len(both)):
        if i:
            now = (out[i - 1] @ chain.factors) * both[i]
        np.add.reduce(now, axis=3, keepdims=True, out=scales[i])
        np.divide(now, scales[i], out=out[i])
    return [
        (out[:n, number, 0, 0], out[:n, number, 1, 0][::-1], float(np.log(scales[:n, number, 0]).sum()))
        for number, n in enumerate(sizes)
    ]


def _spans(path: Sequence[int]) -> list[Span]:
    """The spans of a path of labels."""
    found: list[Span] = []
    for i, label in enumerate(path):
        if label % 2:
            found.append(Span(label // 2, i, i + 1, 1.0))
        elif label:
            found[-1] = found[-1]._replace(end=i + 1)
    return found


def _keep_only(scores: Doubles, span: Span) -> Doubles:
    """The scores when a span's slot may begin nowhere else."""
    out = scores.copy()
    begin = 1 + 2 * span.slot
    out[:, begin] = -np.inf
    out[span.first, begin] = scores[span.first, begin]
    return out
