"""A moment of the past, by position or by time, as filters of `EventStore.read`.

What is known at a position is everything up to it; at a time, everything that says it happened then or
earlier, in the order of the log: a clock that was set back hides nothing but what it dated later. What this
file does not know: what is read.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ultracore.distillation.events.store import instant

__all__ = ["Moment", "known_at", "parse_moment"]

Moment: TypeAlias = int | str
"""A position, or an ISO 8601 time (UTC where it names no offset; a date alone is its first instant)."""


def known_at(moment: Moment | None) -> dict[str, Any]:
    """The filters that leave what was known at a moment; none for `None`, which is now.

    Example:
        >>> known_at(17), known_at(None)
        ({'until': 17}, {})
    """
    if moment is None:
        return {}
    return {"until": moment} if isinstance(moment, int) else {"until_time": moment}


def parse_moment(text: str | None) -> Moment | None:
    """A moment as a person writes it: digits are a position, anything else is a time.

    Raises:
        EventError: It is neither.
    """
    if text is None or not text.isdecimal():
        return None if text is None else instant(text)
    return int(text)
