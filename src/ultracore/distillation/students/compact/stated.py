"""What a tool result says of each thing it names: `{"roaming": false}`, or the line `Roaming: off`.

A later result that names the same thing replaces what an earlier one said, so that a conversation has a
state of affairs however long ago it was asked for. What this file does not know: what follows from it.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["digits_in", "is_category", "looks_like_id", "stated"]

_DIGIT = re.compile("[0-9]")

MAX_CHARACTERS = 1500
MAX_NAME, MAX_SAID = 40, 60


def stated(text: str, data: Any) -> tuple[tuple[str, str], ...]:
    r"""The things that a result names, with what it says of them.

    Args:
        text: The result.
        data: Its content, if it is JSON.

    Example:
        >>> stated("Roaming: off\nDone.", None), stated("", {"roaming": False, "id": "R-77"})
        ((('Roaming', 'off'),), (('roaming', 'False'),))
    """
    if isinstance(data, dict):
        return tuple((str(key), str(value)) for key, value in data.items() if is_category(value))
    if data is not None:
        return ()
    parts = (line.partition(":") for line in text[:MAX_CHARACTERS].splitlines())
    found = ((name.strip(), said.strip()[:MAX_SAID]) for name, colon, said in parts if colon)
    return tuple((name, said) for name, said in found if 0 < len(name) < MAX_NAME)


def is_category(value: Any) -> bool:
    """Whether a value is one of a few: a truth, a gap or a short text that is no identifier."""
    if isinstance(value, str):
        return len(value) < 24 and not looks_like_id(value)
    return value is None or isinstance(value, bool)


def looks_like_id(text: str) -> bool:
    """Whether a string is an identifier rather than a word: it has a digit, and no space."""
    return len(text) >= 3 and " " not in text and digits_in(text) > 0


def digits_in(text: str) -> int:
    """How many digits a text has, in any script."""
    return len(_DIGIT.findall(text)) if text.isascii() else sum([character.isdigit() for character in text])
