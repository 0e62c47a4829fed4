"""Which examples to demonstrate: those that stand for all, chosen by clustering and ranking (CaR, arXiv 2402.18191).

What this file does not know: prompts, and whether a demonstration helps (the optimizer compares).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultracore.distillation.agents.rows import is_decision

__all__ = ["representatives"]

MOST_EMBEDDED = 2000
"""So many rows, evenly taken, stand for more of them."""

SEED = 0


def representatives(examples: Sequence[Any], count: int) -> list[Any]:
    """So many of the decisions; nothing of examples that are none.

    Args:
        examples: Decisions, or rows of `get_history()`.
        count: How many; all where there are no more.
    """
    from ultracore.distillation.curate import embed_decisions, select_rows  # numpy, only where it is needed

    if not count or not examples or not all(map(is_decision, examples)):
        return []
    rows = list(examples)[:: -(-len(examples) // MOST_EMBEDDED)]
    return select_rows(rows, embed_decisions(rows), count, "car", SEED)
