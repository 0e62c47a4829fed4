"""What a client sends, taken without a task or a timer where it is there already, as it nearly always is.

What this file does not know: what the messages hold.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, NamedTuple

from starlette.types import Message, Receive

__all__ = ["hung_up", "is_gone", "take"]


class Waiting(NamedTuple):
    """A message that is not there yet."""

    coroutine: Coroutine[Any, Any, Message]
    future: Any

    @types.coroutine
    def arrived(self) -> Generator[Any, Any, Message]:
        """The message, once it is there."""
        try:
            yield self.future
            message: Message = yield from self.coroutine
            return message
        finally:
            self.coroutine.close()


def take(receive: Receive) -> Message | Waiting:
    """Ask for a message as far as that goes without waiting."""
    coroutine: Any = receive()
    try:
        return Waiting(coroutine, coroutine.send(None))
    except StopIteration as ended:
        message: Message = ended.value
        return message


def is_gone(receive: Receive) -> bool:
    """Whether the client hung up, as far as the server has heard; after its request is whole."""
    while True:
        message = take(receive)
        if isinstance(message, Waiting):
            message.coroutine.close()
            return False
        if message["type"] == "http.disconnect":
            return True


async def hung_up(receive: Receive) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
