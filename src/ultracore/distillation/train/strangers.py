"""Which tools to hide from a part of training, so that the rankers learn what to do with tools never seen.

Out of fold, every tool was seen in other tasks; a ranker that has only met such tools prefers them to a new one
whatever its description says. What this file does not know: what is fitted without the hidden tools.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultracore.distillation.decisions import Decision

__all__ = ["MAX_STRANGE", "STRANGE_WEIGHT", "hidden_tools"]

MAX_STRANGE = 800
"""Decisions about hidden tools that are learned from besides; bounds the time."""

STRANGE_WEIGHT = 0.5
"""Of such a decision against any other."""

LEAST_TOOLS = 6
HIDDEN = 0.5
"""Share of the tools that is hidden. The evidence without them knows half of the tasks: of 873 calls of new SGD
dialogues 63.1 % agreed; with a quarter of the tasks 63.3, but confidence fitted worse; with three quarters (and
weight 1, for there are half as many such decisions) 58.1."""

LEAST_VARIETY = 8
"""Different sets of tools on offer; where conversations are always offered the same ones, hardly one will be new."""


def hidden_tools(decisions: Sequence[Decision], seed: int) -> frozenset[str]:
    """Some of the tools that were called; none where the tools on offer are much the same everywhere.

    Args:
        decisions: What is learned from.
        seed: Chooses the tools.
    """
    variety = sorted({tuple(sorted(tool.name for tool in decision.state.tools)) for decision in decisions})
    called = sorted({call.name for decision in decisions for call in decision.calls})
    if len(called) < LEAST_TOOLS or len(variety) < LEAST_VARIETY:
        return frozenset()
    hidden: list[str] = []
    services = _services(called, variety)
    for place in np.random.default_rng(seed).permutation(len(services)).tolist():
        if len(hidden) + len(services[place]) <= HIDDEN * len(called):
            hidden += services[place]
    return frozenset(hidden)


def _services(called: Sequence[str], variety: Sequence[Sequence[str]]) -> list[list[str]]:
    """The tools in groups that are always offered together: who is new to one of a service is new to all of it."""
    offers: dict[str, list[int]] = {name: [] for name in called}
    for number, offered in enumerate(variety):
        for name in offered:
            if name in offers:
                offers[name].append(number)
    services: dict[tuple[int, ...], list[str]] = {}
    for name, numbers in offers.items():
        services.setdefault(tuple(numbers), []).append(name)
    return list(services.values())
