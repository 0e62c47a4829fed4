"""What a message of another dialect holds, as chat holds it. What this file does not know: the dialects."""

from __future__ import annotations

from typing import Any

__all__ = ["content_as_chat"]


def content_as_chat(content: Any, kinds: tuple[str, ...]) -> Any:
    """Text parts as chat has them; a single one as plain text, which is how chat traces hold it.

    Args:
        content: Whatever the client sent; what is no text part stays as it came.
        kinds: The `type` of text parts in the client's dialect.

    Example:
        >>> content_as_chat([{"type": "input_text", "text": "hi"}], ("input_text",))
        'hi'
        >>> content_as_chat([{"type": "input_text"}], ("input_text",))
        [{'type': 'input_text'}]
    """
    if not isinstance(content, list):
        return content
    parts = [{"type": "text", "text": part["text"]} if _is_text(part, kinds) else part for part in content]
    return parts[0]["text"] if len(parts) == 1 and _is_text(content[0], kinds) else parts


def _is_text(part: Any, kinds: tuple[str, ...]) -> bool:
    return isinstance(part, dict) and part.get("type") in kinds and isinstance(part.get("text"), str)
