"""Calling a user's embedding function, whichever of its forms it has.

Synchronous or async, one text -> vector or a list of texts -> matrix, or an object with such a method
`encode` (model2vec, sentence-transformers). What this file does not
know: which texts, and whether the numbers are any good (`embed.check_matrix`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from ultracore.distillation.errors import ConfigurationError

__all__ = ["EmbeddingFunction", "Encoder", "call_function", "finish", "name_of"]


class Encoder(Protocol):
    """An object that embeds, such as a `StaticModel` of model2vec or a `SentenceTransformer`."""

    def encode(self, sentences: Any, /) -> Any:
        """List of texts -> matrix."""
        ...


EmbeddingFunction: TypeAlias = Callable[[Any], Any] | Encoder
"""text -> vector, or list of texts -> matrix; or the async form of either; or an object with `encode`."""

T = TypeVar("T")

# What a function of one text may raise when it is handed a list.
_NOT_FOR_LISTS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


async def call_function(function: EmbeddingFunction, texts: Sequence[str]) -> Any:
    """Embed texts: in one call where the function takes a list, else one by one, in order.

    Returns:
        The matrix, or the list of vectors, as the function gave it; not yet checked.
    """
    call = _callable(function)
    try:
        whole = await _awaited(call(list(texts)))
    except _NOT_FOR_LISTS:
        whole = None
    if whole is not None and _is_matrix(whole):
        return whole
    return [await _awaited(call(text)) for text in texts]


def name_of(function: EmbeddingFunction) -> str:
    """What a function is called, for a cache that outlives it: its `name`, else where it is defined."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    return str(getattr(function, "name", None) or f"{kind.__module__}.{kind.__qualname__}")


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for; an event loop is not needed.

    Raises:
        ConfigurationError: It does wait: the embedding function is really async.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise ConfigurationError(
        "this embedding_function is async; pass it to an async method, such as SemDeDup().deduplicate(...)"
    )


def _callable(function: EmbeddingFunction) -> Callable[[Any], Any]:
    call: Callable[[Any], Any] = getattr(function, "encode", function)  # type: ignore[arg-type]
    return call


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _is_matrix(value: Any) -> bool:
    try:
        return np.ndim(value) == 2
    except ValueError:  # ragged: some vectors are longer than others
        return True
