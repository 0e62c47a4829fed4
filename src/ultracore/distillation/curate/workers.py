"""Where independent pieces of work are done: in this process, unless somebody brings other workers.

What this file does not know: what the work is; other machines (`on_ray`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["InProcess", "Workers"]

T = TypeVar("T")


class Workers(Protocol):
    """Does pieces of work that do not depend on each other."""

    def map(self, function: Callable[..., T], shared: Sequence[Any], pieces: Iterable[Sequence[Any]], /) -> Iterator[T]:
        """`function(*shared, *piece)` of each piece, in their order.

        Args:
            function: A function of a module, which gives the same result wherever it is called.
            shared: What all pieces need, such as a matrix; it is not changed.
            pieces: The other arguments of each call.
        """
        ...


class InProcess:
    """Here, one after the other, each when its result is asked for."""

    def map(self, function: Callable[..., T], shared: Sequence[Any], pieces: Iterable[Sequence[Any]], /) -> Iterator[T]:
        """See `Workers`."""
        return (function(*shared, *piece) for piece in pieces)
