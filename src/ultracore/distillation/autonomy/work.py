"""The heavy work of the loop as a protocol: the loop itself imports nothing that learns.

What this file does not know: where and how it is done.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ultracore.distillation.autonomy.compare import Comparison

__all__ = ["Compared", "TrainingBackend"]


class Compared(msgspec.Struct, frozen=True):
    """A comparison, and how many conversations the canary answered."""

    comparison: Comparison
    canary_units: int


class TrainingBackend(Protocol):
    """Where the heavy work is done; may raise whatever goes wrong."""

    def train(self) -> dict[str, Any]:
        """Curate, train and certify what the log holds, and append the facts; returns `status` and `reason`."""
        ...

    def compare(self) -> Compared:
        """Compare the candidate with the model that answers."""
        ...
