"""What a teacher's tokens cost, from a table that the operator keeps. An unknown price is unknown, never 0.

What this file does not know: who was asked, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

__all__ = ["Price", "Prices"]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for a million tokens.

    Attributes:
        input: Of the prompt.
        output: Of the completion, reasoning included.
        cached_input: Of the part of the prompt that the teacher had in its cache; as `input` by default.
        cache_write: Of the part that Anthropic wrote to its cache; as `input` by default.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    def cost(self, usage: Mapping[str, Any]) -> float | None:
        """Dollars for one reply; `None` where the usage does not tell both counts.

        Args:
            usage: As in a chat completion, in a response (`input_tokens`, `output_tokens`), or in a message of
                Anthropic's, where `input_tokens` are those beside the cache.

        Example:
            >>> Price(input=2.0, output=8.0).cost({"prompt_tokens": 1000, "completion_tokens": 500})
            0.006
        """
        prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
        completion = _count(usage.get("completion_tokens", usage.get("output_tokens")))
        if prompt is None or completion is None:
            return None
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        cached = min(cached or 0, prompt)
        read, written = (_count(usage.get(f"cache_{kind}_input_tokens")) or 0 for kind in ("read", "creation"))
        cheap = self.input if self.cached_input is None else self.cached_input
        writing = self.input if self.cache_write is None else self.cache_write
        prompt_dollars = (prompt - cached) * self.input + (cached + read) * cheap + written * writing
        return (prompt_dollars + completion * self.output) / 1e6


class Prices:
    """Prices by model name.

    Args:
        table: Price of each model; a name may hold `*`. The exact name counts first, then the longest
            pattern.
    """

    def __init__(self, table: Mapping[str, Price] | None = None) -> None:
        self._exact = dict(table or {})
        self._patterns = sorted((name for name in self._exact if "*" in name), key=len, reverse=True)

    def of(self, model: str) -> Price | None:
        """The price of a model; `None` where the table has none."""
        found = self._exact.get(model)
        if found is None:
            name = next((pattern for pattern in self._patterns if fnmatchcase(model, pattern)), None)
            found = None if name is None else self._exact[name]
        return found

    def cost(self, model: str, usage: Mapping[str, Any] | None) -> float | None:
        """Dollars for one reply, or `None`: no price, or no usage, is known."""
        price = self.of(model)
        return None if price is None or usage is None else price.cost(usage)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
