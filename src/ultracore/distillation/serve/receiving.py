"""What a client sends, taken without a task or a timer where it is there already, as it nearly always is.

And what it is sent, in one piece where the server can. What this file does not know: what the messages hold.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, NamedTuple, Protocol

from starlette.types import Message, Receive, Send

__all__ = ["WholeAnswer", "hung_up", "is_gone", "send_whole", "take"]


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


class WholeAnswer(Protocol):
    """An answer of which nothing is missing.

    Attributes:
        body: All of it.
    """

    body: bytes

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Its own, with its length."""
        ...

    @property
    def lines(self) -> bytes:
        """The same as they are sent."""
        ...


async def send_whole(receive: Receive, send: Send, answer: WholeAnswer) -> bool:
    """Answer with status 200.

    Args:
        receive: Of the request, which is whole.
        send: Of the request.
        answer: What to send.

    Returns:
        Whether the client was still there, as far as the server has heard.
    """
    at_once = getattr(send, "whole", None)
    sent: bool | None = None if at_once is None else at_once(answer.lines, answer.body)
    if sent is not None:
        return sent
    if is_gone(receive):
        return False
    await send({"type": "http.response.start", "status": 200, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
    return True


async def hung_up(receive: Receive) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
