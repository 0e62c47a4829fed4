"""What follows from a tool alone is worked out once: tools come with every request, nearly always the same objects.

What this file does not know: what is worked out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ultracore.distillation.tools import Tool

__all__ = ["REMEMBERED", "PerTool"]

Fact = TypeVar("Fact")

REMEMBERED = 4096


class PerTool(Generic[Fact]):
    """A function of a tool that remembers its answers, by the identity of the tool, which it holds.

    Args:
        work_out: The function.
    """

    def __init__(self, work_out: Callable[[Tool], Fact]) -> None:
        self._work_out = work_out
        self._known: dict[int, tuple[Tool, Fact]] = {}

    def __call__(self, tool: Tool) -> Fact:
        """The answer."""
        found = self._known.get(id(tool))
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[id(tool)] = tool, self._work_out(tool)
        return found[1]
