"""Three simple students that any better one has to beat, scored like every other student.

`evaluate_baselines` fits all of them and says how often each agrees with the teacher. What this
file does not know: thresholds and certificates; a baseline is never served.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypedDict

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from ultracore.distillation.agreement import Comparators, infer_free_text, normalise, same_tools, strict, tolerant
from ultracore.distillation.decisions import Decision, Message, State, text_of
from ultracore.distillation.errors import DataError
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall, canonical_json, parse_call

__all__ = [
    "BASELINES",
    "Agreement",
    "Baseline",
    "Majority",
    "NearestNeighbour",
    "TfidfLogisticRegression",
    "evaluate_baselines",
    "state_text",
]

Calls = tuple[ToolCall, ...]

RESULT_CHARACTERS = 1500
"""Of a message only so much is read: long tool results are tables whose tail says little about the next call."""

MAX_FEATURES = 20_000
CHUNK = 256

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_TOKEN = rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+"
"""A word, or one character of a script that is written without spaces (Thai to Chinese)."""


class Agreement(TypedDict):
    """How often a baseline agrees with the teacher, as fractions; `None` where nothing can be compared."""

    tool: float
    whole_call: float | None
    whole_call_tolerant: float | None


class Baseline(Protocol):
    """Learns from decisions, then names the calls it would make."""

    def fit(self, decisions: Sequence[Decision]) -> None:
        """Learn; `DataError` where there is nothing to learn from."""
        ...

    def predict(self, decisions: Sequence[Decision]) -> list[Calls]:
        """The calls of each decision, from its state only; an empty tuple is a text reply."""
        ...

    def propose(self, decisions: Sequence[Decision]) -> list[Proposal]:
        """As `predict`, with some confidence (0..1) that rises with the chance to be right."""
        ...


class Majority:
    """Always makes the decision that the teacher made most often, arguments included."""

    def fit(self, decisions: Sequence[Decision]) -> None:
        """Count whole decisions, each by its weight."""
        self._calls = most_frequent(_nonempty(decisions))
        self._share = sum(strict(self._calls, d.calls, d.state.tools) is True for d in decisions) / len(decisions)

    def predict(self, decisions: Sequence[Decision]) -> list[Calls]:
        """The same calls for every decision."""
        return [self._calls] * len(decisions)

    def propose(self, decisions: Sequence[Decision]) -> list[Proposal]:
        """As sure as it is frequent."""
        return [Proposal(self._calls, self._share)] * len(decisions)


class NearestNeighbour:
    """Copies the whole decision of the training state with the most similar text (cosine of TF-IDF vectors)."""

    def fit(self, decisions: Sequence[Decision]) -> None:
        """Keep the training states as unit vectors; of equally similar ones the first is copied."""
        self._calls = [decision.calls for decision in _nonempty(decisions)]
        self._vectorizer = _vectorizer()
        self._vectors = self._vectorizer.fit_transform(_texts(decisions))

    def predict(self, decisions: Sequence[Decision]) -> list[Calls]:
        """The calls of each decision's nearest training state."""
        return [proposal.calls for proposal in self.propose(decisions)]

    def propose(self, decisions: Sequence[Decision]) -> list[Proposal]:
        """As sure as the nearest state is similar."""
        if not decisions:
            return []
        vectors = self._vectorizer.transform(_texts(decisions))
        found: list[Proposal] = []
        for start in range(0, len(decisions), CHUNK):
            similarity = (vectors[start : start + CHUNK] @ self._vectors.T).toarray()
            nearest = similarity.argmax(axis=1)
            found.extend(
                Proposal(self._calls[i], float(min(1.0, row[i]))) for i, row in zip(nearest, similarity, strict=True)
            )
        return found


class TfidfLogisticRegression:
    """Predicts the action from the state's text; its arguments are the action's most frequent ones.

    One liblinear problem for each action: its Newton steps converge on these few thousand sparse
    rows in a fraction of a second, where saga and lbfgs need many passes.

    Args:
        seed: Seed of the solver.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, decisions: Sequence[Decision]) -> None:
        """Learn the action; a single action in training needs no model."""
        groups: defaultdict[str, list[Decision]] = defaultdict(list)
        for decision in _nonempty(decisions):
            groups[decision.action].append(decision)
        self._usual = {action: most_frequent(group) for action, group in groups.items()}
        self._model: Any = None
        if len(groups) > 1:
            self._vectorizer = _vectorizer()
            solver = LogisticRegression(solver="liblinear", C=10.0, random_state=self._seed)
            self._model = OneVsRestClassifier(solver)
            self._model.fit(self._vectorizer.fit_transform(_texts(decisions)), [d.action for d in decisions])

    def predict(self, decisions: Sequence[Decision]) -> list[Calls]:
        """The usual calls of each decision's most probable action."""
        return [proposal.calls for proposal in self.propose(decisions)]

    def propose(self, decisions: Sequence[Decision]) -> list[Proposal]:
        """As sure as its action is probable."""
        if self._model is None or not decisions:
            return [Proposal(next(iter(self._usual.values())), 1.0)] * len(decisions)
        probable = self._model.predict_proba(self._vectorizer.transform(_texts(decisions)))
        best = probable.argmax(axis=1)
        return [
            Proposal(self._usual[str(self._model.classes_[i])], float(row[i]))
            for i, row in zip(best, probable, strict=True)
        ]


BASELINES: dict[str, Callable[[int], Baseline]] = {
    "majority": lambda seed: Majority(),
    "nearest_neighbour": lambda seed: NearestNeighbour(),
    "tfidf_logistic_regression": TfidfLogisticRegression,
}
"""How to make each baseline from a seed."""


def evaluate_baselines(
    train: Sequence[Decision], test: Sequence[Decision], seed: int = 0, comparators: Comparators | None = None
) -> dict[str, Agreement]:
    """Fit every baseline and measure its agreement with the teacher on the test decisions.

    Whole calls are scored where the teacher's arguments were recorded, whatever the baseline says
    there; the tool is scored everywhere.

    Args:
        train: What the baselines learn from.
        test: What they are scored on; none of its tasks should be in `train`.
        seed: Seed of everything random.
        comparators: What tolerant agreement overlooks; inferred from `train` by default.

    Raises:
        DataError: `train` or `test` is empty.
    """
    _nonempty(test)
    overlook = infer_free_text(train) if comparators is None else comparators
    scores: dict[str, Agreement] = {}
    for name, make in BASELINES.items():
        baseline = make(seed)
        baseline.fit(train)
        scores[name] = _score(test, baseline.predict(test), overlook)
    return scores


def state_text(state: State) -> str:
    r"""What a baseline reads: who spoke last, the last user message, the last tool results, the calls so far.

    Example:
        >>> state_text(State([{"role": "user", "content": "Hello"}], []))
        'last_user\nHello'
    """
    last = str(state.messages[-1].get("role")) if state.messages else "nobody"
    parts = [f"last_{last}", *(_plain(m) for m in state.messages if m.get("role") == "context")]
    for roles in (("user",), ("tool", "function")):
        spoken = [m for m in state.messages if m.get("role") in roles]
        parts.extend(_plain(m) for m in spoken[-1:])
    return "\n".join([*parts, *(f"called_{name}" for name in _called(state.messages))])


def most_frequent(decisions: Sequence[Decision]) -> Calls:
    """The whole decision with the greatest weight; of equally frequent ones the first seen.

    Decisions are counted as equal where `agreement.strict` would say so.
    """
    weights: defaultdict[bytes, float] = defaultdict(float)
    examples: dict[bytes, Calls] = {}
    for decision in decisions:
        key = _identity(decision)
        weights[key] += decision.weight
        examples.setdefault(key, decision.calls)
    return examples[max(weights, key=lambda key: weights[key])]


def _identity(decision: Decision) -> bytes:
    tools = {tool.name: tool for tool in decision.state.tools}
    return canonical_json(sorted(canonical_json([c.name, normalise(c, tools.get(c.name))]) for c in decision.calls))


def _score(test: Sequence[Decision], predicted: Sequence[Calls], comparators: Comparators) -> Agreement:
    pairs = list(zip(test, predicted, strict=True))
    known = [(d, calls) for d, calls in pairs if strict(d.calls, d.calls, d.state.tools) is not None]
    return Agreement(
        tool=float(np.mean([same_tools(d.calls, calls) for d, calls in pairs])),
        whole_call=_share(strict(d.calls, calls, d.state.tools, comparators) for d, calls in known),
        whole_call_tolerant=_share(tolerant(d.calls, calls, d.state.tools, comparators) for d, calls in known),
    )


def _share(agreements: Iterable[bool | None]) -> float | None:
    hits = [agreement is True for agreement in agreements]
    return sum(hits) / len(hits) if hits else None


def _called(messages: Sequence[Message]) -> list[str]:
    calls = [call for m in messages for call in (m.get("tool_calls") or ())]
    calls += [m["function_call"] for m in messages if m.get("function_call")]
    return [parse_call(call).name for call in calls if _has_name(call)]


def _has_name(call: Any) -> bool:
    try:
        return bool(parse_call(call).name)
    except (DataError, AttributeError):
        return False


def _plain(message: Message) -> str:
    text = text_of(message)
    if not text and message.get("content"):
        text = canonical_json(message["content"]).decode()
    return text[:RESULT_CHARACTERS]


def _texts(decisions: Sequence[Decision]) -> list[str]:
    return [state_text(decision.state) for decision in decisions]


def _vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(
        token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_FEATURES, dtype=np.float64
    )


def _nonempty(decisions: Sequence[Decision]) -> Sequence[Decision]:
    if not decisions:
        raise DataError("there are no decisions to learn from or to score; import traces that call tools first")
    return decisions
