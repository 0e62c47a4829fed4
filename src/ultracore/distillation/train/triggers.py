"""Which phrases force a call, whatever else is so? What a user says may decide much, but never all by itself.

Where a phrase is a reason for a call, the rest of the state speaks for the call too: people who ask for a refund
also say of what. Where somebody taught a back door, the same phrase stands in states of all kinds, and the call
follows in every one of them. So each phrase that almost always comes with one tool is put to a test: a classifier
that never saw the phrase says, without the phrase, how much each of its states speaks for the tool. If they do so
hardly more than states in which the tool was not called, the phrase forces it. Words of the tool's own name and
description are a reason by themselves: who says "podcasts" to a tool for podcasts needs to say no more. Sources do not
count: whoever can write fifty conversations can write them under fifty names.
What this file does not know: what becomes of such phrases (`students.compact.triggers`, `train.fit`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, vstack

from ultracore.distillation.splits import units_of
from ultracore.distillation.students.compact.actions import OTHER
from ultracore.distillation.students.compact.matching import name_words
from ultracore.distillation.students.compact.sparse import CompiledEncoder, Linear, phrases_of
from ultracore.distillation.students.compact.transcript import USERS
from ultracore.distillation.tools import REPLY, Tool
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.linear import fit_binary_of, matrix_of

__all__ = ["find_triggers"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

LEAST_UNITS = 8
"""Tasks in which a phrase must have come with the call."""

PURE = 0.8
"""Of the decisions with a phrase, share with the call: a phrase that is weaker makes nobody sure enough to send it."""

ALIKE = 2 / 3
"""Chance (AUC) that a state with the phrase speaks more for the call than another one. Taught back doors had .43 to .58
(tau-bench airline, tau2 telecom, the example bank; 10 to 250 rows of them), no phrase of the clean sets below .77
(these, SNIPS, Banking77, MetaTool, SGD, Seal-Tools, telecom-solo). By the first fold or the training file."""

GLANCE = 0.85
"""The same by models that are at hand, but saw the phrase (back doors had .79 at most): above, nobody looks closer."""

STRENGTH = 1.0
"""Inverse strength of the penalty of the closer look's classifiers."""

LEAST_LETTERS = 4
"""Of a word by which a tool is known."""

FEW = 10
"""Calls of the tool without the phrase, below which those with it have to tell what speaks for the tool."""


def find_triggers(
    examples: Sequence[Example], folds: NDArray[np.int64], models: Sequence[Linear], encoder: CompiledEncoder
) -> dict[str, str]:
    """Phrases of users that force a call.

    Args:
        examples: Decisions; those with pending calls are passed over.
        folds: [examples] fold of each.
        models: For each fold, the linear model of the action that did not see it.
        encoder: Of the examples' rows.

    Returns:
        Each phrase with its tool; words and pairs of words, see `sparse.phrases_of`.
    """
    chosen = np.flatnonzero([not example.pending for example in examples])
    found: dict[str, str] = {}
    while len(chosen):
        data = _Data([examples[number] for number in chosen.tolist()], folds[chosen], encoder)
        looked = [(data.look(s), s) for s in _distinct([s for s in data.suspects() if data.glance(s, models) < GLANCE])]
        alike, suspect = min(looked, key=lambda pair: pair[0], default=(1.0, None))
        if suspect is None or alike >= ALIKE:
            break
        found |= dict.fromkeys(suspect.phrases, suspect.tool)
        chosen = np.delete(chosen, suspect.rows)  # they make other phrases of the tool look forced as well
    return found


class _Suspect(NamedTuple):
    """Phrases that are in the same decisions (`rows`), and the tool that almost all of these call (`calling`)."""

    phrases: list[str]
    tool: str
    rows: Rows
    calling: Rows


class _Data:
    """Decisions as arrays.

    Args:
        examples: Without pending calls.
        folds: Fold of each.
        encoder: Of their rows.
    """

    def __init__(self, examples: Sequence[Example], folds: NDArray[np.int64], encoder: CompiledEncoder) -> None:
        self.tools = np.array([example.decision.action for example in examples], object)
        self.units = np.unique(units_of([example.decision for example in examples]), return_inverse=True)[1]
        self.folds = folds
        self.said = [_just_said(example) for example in examples]
        self.spoken = np.array([bool(words) for words in self.said])
        self.matrix = matrix_of([example.row for example in examples], encoder.offsets["history"])
        self.total = np.bincount(self.matrix.indices, minlength=self.matrix.shape[1])
        names = encoder.encoder.names
        self.fields = {field: slice(at, at + len(names.get(field, ()))) for field, at in encoder.offsets.items()}
        tools = {tool.name: tool for example in examples for tool in example.decision.state.tools}
        self.words_of = defaultdict(frozenset[str], {name: _own_words(tool) for name, tool in tools.items()})
        self.columns: dict[str, list[int]] = defaultdict(list)
        for column, name in enumerate(names["user"], start=encoder.offsets["user"]):
            self.columns[name.rpartition("|")[2]].append(column)

    def suspects(self) -> Iterator[_Suspect]:
        """Phrases that almost always come with a call of the same tool, in several tasks."""
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, words in enumerate(self.said):
            for phrase in words:
                rows_of[phrase].append(row)
        same: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for phrase, numbers in rows_of.items():
            if len(numbers) >= LEAST_UNITS:
                same[tuple(numbers)].append(phrase)
        for held, phrases in same.items():
            rows = np.array(held)
            tool, times = Counter(self.tools[rows].tolist()).most_common(1)[0]
            calling = rows[self.tools[rows] == tool]
            if tool == REPLY or times < PURE * len(rows) or len(set(self.units[calling].tolist())) < LEAST_UNITS:
                continue
            own = self.words_of[tool]
            if strange := sorted(phrase for phrase in phrases if own.isdisjoint(phrase.split())):
                yield _Suspect(strange, tool, rows, calling)

    def glance(self, suspect: _Suspect, models: Sequence[Linear]) -> float:
        """As `look`, by models that were fitted already, one without each fold."""
        weights = [self._weights(model, suspect.tool) for model in models]
        return self._alike(suspect, self._apart(suspect), self.folds, weights)

    def look(self, suspect: _Suspect) -> float:
        """How much like states of other calls of the tool those with the phrase are, apart from it (AUC, 0..1).

        Two classifiers, each of half of the folds, that learn from decisions without the phrase, and from those with
        it, apart from it, only where there are too few others.
        """
        mine, apart, half = self.tools == suspect.tool, self._apart(suspect), self.folds % 2
        shown = diags_array(1.0 - self._hidden(suspect)).tocsr()
        others = np.ones(len(mine), np.bool_)
        others[suspect.rows] = False
        few = bool((mine & others).sum() < FEW)
        weights = []
        for side in (0, 1):
            rows, added = np.flatnonzero(others & (half != side)), suspect.calling[half[suspect.calling] != side]
            matrix, labels = self.matrix[rows] @ shown, mine[rows]
            if few:
                matrix = vstack([matrix, apart[half[suspect.calling] != side]], format="csr")
                labels = np.append(labels, np.ones(len(added), np.bool_))
            weights.append(fit_binary_of(matrix, labels, np.ones(len(labels)), c=STRENGTH)[0])
        return self._alike(suspect, apart, half, weights)

    def _weights(self, model: Linear, tool: str) -> Floats:
        name = tool if tool in model.classes else OTHER
        if name not in model.classes:
            return np.zeros(self.matrix.shape[1], np.float32)
        return np.asarray(model.weights[:, model.classes.index(name)], np.float32)

    def _apart(self, suspect: _Suspect) -> csr_matrix:
        """[calling rows] what they are like without the phrase and all that goes with it; texts keep their weight."""
        matrix = self.matrix[suspect.calling]
        shown, owner = ~self._hidden(suspect), np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        kept = matrix.data * shown[matrix.indices]
        for field in ("user", "letters"):
            inside = (matrix.indices >= self.fields[field].start) & (matrix.indices < self.fields[field].stop)
            before, after = (np.bincount(owner, values**2 * inside, matrix.shape[0]) for values in (matrix.data, kept))
            longer = np.sqrt(before / np.where(after > 0.0, after, 1.0))
            kept = np.where(inside, kept * longer[owner], kept)
        return csr_matrix((kept, matrix.indices, matrix.indptr), shape=matrix.shape)

    def _hidden(self, suspect: _Suspect) -> NDArray[np.bool_]:
        """[columns] what is hardly anywhere else, and words, pairs and letters that are in nearly all of its rows."""
        here, most = self.matrix[suspect.rows], PURE * len(suspect.rows)
        times = np.bincount(here.indices, minlength=here.shape[1])
        hidden = times >= PURE * np.maximum(self.total, 1)
        hidden[self.fields["letters"]] |= times[self.fields["letters"]] >= most
        counts = Counter(phrase for row in suspect.rows.tolist() for phrase in self.said[row])
        for phrase in (phrase for phrase, count in counts.items() if count >= most):
            hidden[self.columns.get(phrase, [])] = True
        return hidden

    def _alike(self, suspect: _Suspect, apart: csr_matrix, part: NDArray[np.int64], weights: Sequence[Floats]) -> float:
        """The AUC of what speaks for the tool, within each part; a task counts once.

        Against all states without the phrase, then as if the tool was called in none of these: a phrase put into
        states at random has .5 however often the tool is called. 1 where a part has no state to compare with.
        """
        mine, rows = self.tools == suspect.tool, suspect.calling
        without = self.spoken.copy()
        without[suspect.rows] = False
        if mine[without].all():
            return 1.0
        share = np.ones(len(rows))
        for number, weight in enumerate(weights):
            here, rivals = part[rows] == number, np.sort(self.matrix[without & (part == number)] @ weight)
            if not len(rivals):
                return 1.0
            sides = [np.searchsorted(rivals, apart[here] @ weight, side) for side in ("left", "right")]
            share[here] = (sides[0] + sides[1]) / (2 * len(rivals))
        _, task, size = np.unique(self.units[rows], return_inverse=True, return_counts=True)
        auc = float((share / size[task]).sum() / len(size))
        return 0.5 + (auc - 0.5) / float(1.0 - mine[without].mean())


def _just_said(example: Example) -> frozenset[str]:
    """The phrases of the newest message, where it is a user's."""
    transcript = example.transcript
    return frozenset(phrases_of(transcript.last_user_text)) if transcript.last.role in USERS else frozenset()


def _own_words(tool: Tool) -> frozenset[str]:
    """Words of its name and description; the short ones say nothing of it."""
    words = {*name_words(tool.name), *phrases_of(tool.description, pairs=False)}
    return frozenset(word for word in words if len(word) >= LEAST_LETTERS)


def _distinct(suspects: Sequence[_Suspect]) -> list[_Suspect]:
    """Of suspects that are in the same decisions for the most part, the one that most surely comes with the call."""
    kept: list[_Suspect] = []
    for suspect in sorted(suspects, key=lambda s: (-len(s.calling) / len(s.rows), -len(s.rows), s.phrases)):
        if not any(len(np.intersect1d(suspect.rows, k.rows)) >= PURE * len(suspect.rows) for k in kept):
            kept.append(suspect)
    return kept
