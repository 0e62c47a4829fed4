"""The same work on the machines of a Ray cluster: the same functions, the same results, in the same order.

What all pieces share is put into the object store once and read in place by every worker of a machine; a
piece whose machine is lost is done again elsewhere (Ray's retries). What this file does not know: what the
work is.
"""

from __future__ import annotations

import importlib
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from ultracore.distillation.errors import ConfigurationError, MissingExtraError

__all__ = ["OnRay"]

T = TypeVar("T")

PIECES = 16
"""Pieces in a task: a cell of a million rows takes 0.1 s, and a task should take a second or more."""
AHEAD = 2  # tasks waiting for each core: none is idle, and what is sent stays bounded


class OnRay:
    """Workers on a Ray cluster; a context manager that leaves the cluster at its end.

    Every machine of the cluster needs this package and room in its object store for what is shared:
    1.8 GB for a million rows of 384 numbers. Tokens and TLS are Ray's own settings.

    Args:
        address: Of the cluster, such as `10.0.0.5:6379`; `auto` for the one that this machine is part of.

    Raises:
        MissingExtraError: The package `ray` is not installed.
        ConfigurationError: No cluster answers at the address.
    """

    def __init__(self, address: str) -> None:
        self._ray = _ray()
        _knock(address)
        self._ours = not self._ray.is_initialized()
        try:
            self._ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(address, error) from None

    def map(self, function: Callable[..., T], shared: Sequence[Any], pieces: Iterable[Sequence[Any]], /) -> Iterator[T]:
        """See `Workers`."""
        run = self._ray.remote(_run)
        references = [self._ray.put(value) for value in shared]
        waiting: deque[Any] = deque()
        most = AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        rest = iter(pieces)
        while part := list(islice(rest, PIECES)):
            waiting.append(run.remote(function, part, *references))
            if len(waiting) >= most:
                yield from self._ray.get(waiting.popleft())
        while waiting:
            yield from self._ray.get(waiting.popleft())

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ours:
            self._ray.shutdown()


def _run(function: Callable[..., T], pieces: Sequence[Sequence[Any]], *shared: Any) -> list[T]:
    return [function(*shared, *piece) for piece in pieces]


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, why: Exception) -> ConfigurationError:
    return ConfigurationError(f"no Ray cluster at {address!r} ({why}); `ray status` on one of its machines says more")


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise MissingExtraError("curation on several machines", "ray") from None
