"""Decoding a linear-chain CRF (Lafferty et al. 2001): likeliest labelling, its probability, likely spans.

Labels are O, B-k and I-k for slot k. States also remember the slot that was said last, so that "O
after slot 1" may be followed by other things than "O after slot 2". What this file does not know:
words, slots' names, and how weights are fitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chain", "Decoded", "Span", "States", "states_of"]

Doubles = NDArray[np.float64]

LEAST_MARGINAL = 0.05
"""Spans less likely than this are not worth a candidate."""

MAX_REPAIRS = 3
"""Slots that may get back to one value in one sentence; more happens in no sentence that means one call."""

TINY = 1e-300


class States(NamedTuple):
    """The states of a chain: O, then begin, inside and O-after for each slot.

    Attributes:
        label: [states] what each state emits: 0 is O, 1 + 2k begins and 2 + 2k continues slot k.
        allowed: [states, states] 1 where the second may follow the first, else 0.
        first: [states] 1 where a text may begin, else 0.
    """

    label: NDArray[np.intp]
    allowed: Doubles
    first: Doubles


def states_of(slots: int) -> States:
    """The states for a number of slots: 1 + 3 * slots of them."""
    n = 1 + 3 * slots
    label = np.zeros(n, np.intp)
    allowed, first = np.zeros((n, n)), np.zeros(n)
    allowed[:, 1::3] = allowed[0, 0] = 1.0
    first[1::3] = first[0] = 1.0
    for slot in range(slots):
        begin, inside, after = range(1 + 3 * slot, 4 + 3 * slot)
        label[[begin, inside]] = 1 + 2 * slot, 2 + 2 * slot
        allowed[[begin, inside], inside] = 1.0
        allowed[[begin, inside, after], after] = 1.0
    return States(label, allowed, first)


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
        transitions: [states, states].
        first: [states], for the first token.
        single: For each slot, whether a sentence gives it one value at most.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        weights: NDArray[np.floating],
        transitions: NDArray[np.floating],
        first: NDArray[np.floating],
        single: Sequence[bool],
    ) -> None:
        self.rows = rows
        self.weights = np.asarray(weights, np.float32)
        self.single = list(single)
        self.states = states_of(len(self.single))
        steps = np.where(self.states.allowed > 0, np.asarray(transitions, np.float64), -np.inf)
        self.first = np.where(self.states.first > 0, np.asarray(first, np.float64), -np.inf)
        self.incoming = np.ascontiguousarray(steps.T)
        self.factors = np.exp(np.stack([steps, steps.T]))
        self.begin = np.stack([np.exp(self.first), np.ones_like(self.first)])[:, None, :]
        self.kinds = np.arange(1, len(self.first), 3), np.arange(2, len(self.first), 3)

    def decode(self, features: Sequence[Sequence[str]]) -> Decoded:
        """Read a sentence.

        Args:
            features: For each token, the names of its features; unknown ones are passed over.
        """
        if not features:
            return Decoded([], 1.0, [])
        scores = self._scores(features)
        lattice = _Lattice(scores, self)
        path, score = self._best(scores, lattice)
        probability = min(1.0, float(np.exp(score - lattice.log_total)))
        return Decoded([lattice.rate(span) for span in _spans(path)], probability, lattice.likely())

    def _scores(self, features: Sequence[Sequence[str]]) -> Doubles:
        """[tokens, states] log potentials."""
        rows: list[int] = []
        begin: list[int] = []
        get = self.rows.get
        for names in features:
            begin.append(len(rows))
            rows.append(0)
            rows += [row for row in map(get, names) if row is not None]
        sums = np.add.reduceat(self.weights[rows], begin, axis=0)
        return sums[:, self.states.label].astype(np.float64)

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
        begun = Counter((state - 1) // 3 for state in path if state % 3 == 1)
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
    """Forward and backward messages of one sentence, scaled at each token (Rabiner 1989)."""

    def __init__(self, scores: Doubles, chain: Chain) -> None:
        top = scores.max(axis=1)
        emit = np.exp(scores - top[:, None])
        ahead, behind, log_scale = _messages(emit, chain)
        self.log_total = float(log_scale + top.sum())
        rest = np.ones_like(emit)
        rest[:-1] = behind[1:] @ chain.factors[1]
        shares = ahead * rest
        shares /= shares.sum(axis=1, keepdims=True)
        self.begins = shares[:, 1::3]
        self.goes_on = np.zeros((len(emit), 2, self.begins.shape[1]))
        """[tokens, after B or after I, slots] probability that the value goes on at the next token."""
        for kind in (0, 1):
            states, inside = chain.kinds[kind], chain.kinds[1]
            arrive = chain.factors[0][states, inside] * behind[1:, inside]
            self.goes_on[:-1, kind] = arrive / np.maximum(rest[:-1, states], TINY)

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


def _messages(emit: Doubles, chain: Chain) -> tuple[Doubles, Doubles, float]:
    """Forward and backward messages, emissions included, each summing to one; log of the forward scales.

    Both are the same recursion, one with the emissions reversed and the factors transposed, and run together.
    """
    n = len(emit)
    both = np.stack([emit, emit[::-1]], axis=1)[:, :, None, :]
    out = np.empty_like(both)
    scales = np.empty((n, 2, 1, 1))
    now = both[0] * chain.begin
    for i in range(n):
        if i:
            now = (out[i - 1] @ chain.factors) * both[i]
        np.add.reduce(now, axis=2, keepdims=True, out=scales[i])
        np.divide(now, scales[i], out=out[i])
    return out[:, 0, 0], out[::-1, 1, 0], float(np.log(scales[:, 0]).sum())


def _spans(path: Sequence[int]) -> list[Span]:
    """The spans of a path of states."""
    found: list[Span] = []
    for i, state in enumerate(path):
        slot, kind = divmod(state - 1, 3)
        if state and kind == 0:
            found.append(Span(slot, i, i + 1, 1.0))
        elif state and kind == 1:
            found[-1] = found[-1]._replace(end=i + 1)
    return found


def _keep_only(scores: Doubles, span: Span) -> Doubles:
    """The scores when a span's slot may begin nowhere else."""
    out = scores.copy()
    begin = 1 + 3 * span.slot
    out[:, begin] = -np.inf
    out[span.first, begin] = scores[span.first, begin]
    return out
