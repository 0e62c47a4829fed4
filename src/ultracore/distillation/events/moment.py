"""A moment of the past, by position or by time, as filters of `EventStore.read`.

What is known at a position is everything up to it; at a time, everything that says it happened then or
earlier, in the order of the log: a clock that was set back hides nothing but what it dated later. What this
file does not know: what is read.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ultracore.distillation.events.store import instant

__all__ = ["Moment", "known_at", "parse_moment", "parse_position"]

MAX_DIGITS = 18
"""A database keeps positions in 64 bits."""

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
    if text is None:
        return None
    position = parse_position(text)
    return instant(text) if position is None else position


def parse_position(text: str) -> int | None:
    """The position that digits stand for; `None` where they are something else, or more than any log has.

    Example:
        >>> parse_position("17"), parse_position("2026-01-31"), parse_position("9" * 20)
        (17, None, None)
    """
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None
