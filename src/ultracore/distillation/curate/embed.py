"""One unit vector for each decision's *state*, without a download: hashed words, field by field.

The state is what the teacher saw; what it decided is never part of the vector. Words, numbers and
pairs of neighbouring words are hashed (MurmurHash3, the same in every process), so two states that
differ by one order id are close but not equal. What this file does not know: which states are
duplicates, and what a better text encoder would say (pass one as `embedding_function`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from ultracore.distillation.curate.functions import EmbeddingFunction, call_function, finish
from ultracore.distillation.decisions import SYSTEM_ROLES, Decision, State, decisions_from_rows, text_of
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.tools import canonical_json

__all__ = ["FIELD_WEIGHTS", "check_matrix", "embed_decisions", "read_decisions", "state_text", "state_texts"]

Matrix: TypeAlias = NDArray[np.float32]
Row: TypeAlias = Mapping[str, Any] | Decision
Fields: TypeAlias = dict[str, list[str]]

FIELD_WEIGHTS: dict[str, float] = {
    "last": 1.0,  # the message that the teacher had to react to, and who said it
    "context": 1.0,  # one text for each leaf of a flat row's context
    "calls": 0.7,  # names of the tools called so far, in order
    "user": 0.5,  # what the user said last, where somebody spoke after that
    "result": 0.5,  # the last tool result, where somebody spoke after that
    "before": 0.3,  # everything earlier: without it, different histories with equal ends would coincide
    "tools": 0.3,  # names of the tools offered
}
"""Norm of each field's vector before the whole is scaled to 1: a long tool result outweighs nothing."""

_UNSAID = SYSTEM_ROLES | {"context"}

# A number is a word of its own, so are a CJK character and a symbol that JSON does not use itself.
_WORDS = r"""\d+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|[^\w\s"'{}\[\]:,.;()\\]"""

_ID = re.compile(r"[\w-]*\d[\w-]*")  # an order number, a date, `res_4NQ7`


def embed_decisions(
    decisions: Sequence[Row],
    *,
    dimensions: int = 512,
    embedding_function: EmbeddingFunction | None = None,
    masked: Collection[str] = (),
) -> Matrix:
    """Embed the state of each decision.

    Args:
        decisions: Rows as `get_history()` returns them, or decisions.
        dimensions: Length of a hashed vector; ignored where there is an `embedding_function`.
        embedding_function: text -> vector or list of texts -> matrix, synchronous; it gets `state_text`.
        masked: Fields (of `FIELD_WEIGHTS`) in which words with a digit all look the same.

    Returns:
        [decisions, dimensions] float32 with rows of length 1, so that a dot product is a cosine.

    Raises:
        ConfigurationError: `dimensions` is less than 1, a masked field is unknown, or the function is async
            (`SemDeDup` awaits those).
        DataError: A row cannot be read, or the function's result is no finite matrix of one row a text.

    Example:
        >>> rows = [{"context": {"order": n}, "tool_selected": "find"} for n in (1, 1, 2)]
        >>> E = embed_decisions(rows)
        >>> E.shape, bool((E[0] == E[1]).all()), bool(E[0] @ E[2] < 1)
        ((3, 512), True, True)
    """
    if dimensions < 1:
        raise ConfigurationError(f"dimensions must be at least 1, not {dimensions}")
    read = read_decisions(decisions)
    if not read:
        return np.zeros((0, dimensions), np.float32)
    if embedding_function is not None:
        vectors = finish(call_function(embedding_function, [state_text(decision, masked) for decision in read]))
        return check_matrix(vectors, len(read))
    return _hash([_fields(decision.state, masked) for decision in read], dimensions)


def state_text(decision: Row, masked: Collection[str] = ()) -> str:
    """The state in words: what is embedded, one `field: text` a line; `masked` as in `embed_decisions`.

    Example:
        >>> print(state_text({"context": {"city": "Oslo"}, "tools_available": ["weather"]}))
        context: city Oslo
        tools: weather
    """
    (read,) = read_decisions([decision])
    return "\n".join(f"{field}: {text}" for field, texts in _fields(read.state, masked).items() for text in texts)


def state_texts(state: State) -> tuple[str, list[str]]:
    """What the teacher had to react to, in words; and the names of the tools called so far, in order."""
    fields = _fields(state)
    return " ".join([*fields["context"], *fields["last"]]), " ".join(fields["calls"]).split()


def read_decisions(rows: Sequence[Row]) -> list[Decision]:
    """Read rows that must have a state: a `context` or `messages`.

    Raises:
        DataError: A row has neither; as all such rows would look the same, none is guessed at.
    """
    for index, row in enumerate(rows):
        if not isinstance(row, Decision | Mapping):
            raise DataError(f"row {index}: a decision is a dict (as get_history() returns), not {type(row).__name__}")
        if isinstance(row, Mapping) and row.get("context") is None and row.get("messages") is None:
            raise DataError(f"row {index}: there is neither 'context' nor 'messages'; what did the agent see?")
    return decisions_from_rows(rows)


def check_matrix(vectors: Any, rows: int) -> Matrix:
    """Vectors as a float32 matrix with rows of length 1.

    Raises:
        DataError: Not one row for each decision, or a row that is not finite, or that has no direction.
    """
    try:
        matrix: NDArray[np.float64] = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("embeddings must be numbers, in vectors of one length") from None
    if matrix.ndim != 2 or matrix.shape[0] != rows or (rows and not matrix.shape[1]):
        raise DataError(f"embeddings must have the shape [{rows} decisions, dimensions], not {list(matrix.shape)}")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise DataError(f"the embedding of row {finite.argmin()} has a NaN or an infinity")
    norms = np.linalg.norm(matrix, axis=1)
    if not norms.all():
        raise DataError(f"the embedding of row {norms.argmin()} is all zeros, which is similar to nothing")
    unit: Matrix = (matrix / norms[:, None]).astype(np.float32)
    return unit


def _hash(rows: Sequence[Fields], dimensions: int) -> Matrix:
    """Each distinct text is hashed once; a field is the sum of its texts, a row that of its fields."""
    place: dict[str, int] = {}
    for fields in rows:
        for texts in fields.values():
            for text in texts:
                place.setdefault(text, len(place))
    hasher = HashingVectorizer(
        n_features=dimensions, token_pattern=_WORDS, ngram_range=(1, 2), norm="l2", dtype=np.float32
    )
    hashed = hasher.transform(map(_encodable, place))
    total: Matrix = np.zeros((len(rows), dimensions), np.float32)
    for shift, (field, weight) in enumerate(FIELD_WEIGHTS.items()):
        summed = (_incidence([fields[field] for fields in rows], place) @ hashed).toarray()
        # Rolled, so that a word means something else in another field.
        total += weight * np.roll(normalize(summed, copy=False), shift * 61, axis=1)
    return check_matrix(total, len(rows))


def _encodable(text: str) -> str:
    """Half a surrogate pair, as text cut in the middle has, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _incidence(texts_of: Sequence[Sequence[str]], place: Mapping[str, int]) -> Any:
    columns = [place[text] for texts in texts_of for text in texts]
    ends = np.cumsum([0, *map(len, texts_of)])
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(texts_of), len(place)))


def _fields(state: State, masked: Collection[str] = ()) -> Fields:
    if unknown := set(masked) - set(FIELD_WEIGHTS):
        raise ConfigurationError(f"fields of a state are {', '.join(FIELD_WEIGHTS)}; not {', '.join(sorted(unknown))}")
    chat = [message for message in state.messages if message.get("role") not in _UNSAID]
    said = [_said(message) for message in chat]
    fields: Fields = {field: [] for field in FIELD_WEIGHTS}
    fields["context"] = [leaf for message in state.messages for leaf in _leaves(message.get("content"))]
    fields["last"] = said[-1:] or ([] if fields["context"] else ["nothing"])
    rest = set(range(len(chat) - 1))
    for field, role in (("user", "user"), ("result", "tool")):
        if newest := [i for i in rest if chat[i].get("role") == role]:
            fields[field] = [said[max(newest)]]
            rest.discard(max(newest))
    fields["before"] = [said[i] for i in sorted(rest)]
    names = [str(call.get("name")) for message in chat for call in _calls(message)]
    fields["calls"] = [" ".join(names)] if names else []
    fields["tools"] = sorted(tool.name for tool in state.tools)
    return fields | {field: [_ID.sub("#", text) for text in fields[field]] for field in masked}


def _said(message: Mapping[str, Any]) -> str:
    calls = [f"{call.get('name')} {_plain(call.get('arguments'))}" for call in _calls(message)]
    return " ".join(filter(None, [str(message.get("role")), text_of(message), *calls]))


def _calls(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for call in [*(message.get("tool_calls") or ()), message.get("function_call")]:
        if isinstance(call, Mapping):
            inner = call.get("function")
            yield inner if isinstance(inner, Mapping) else call


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """`path value` for each leaf of a context object; the content of a chat message has none here."""
    if not path and not isinstance(value, Mapping):
        return
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{path} {key}".strip())
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield f"{path} {_plain(value)}"
