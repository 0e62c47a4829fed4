"""What a student is: something that proposes a whole call and says how sure it is.

Any object with these methods can be gated, certified, served and audited; `checks.check_student`
tells whether it keeps the promises. What this file does not know: how a proposal comes about, and
what is sure enough (`students.certificate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from ultracore.distillation.decisions import State, action_of
from ultracore.distillation.tools import ToolCall

__all__ = ["Proposal", "Recalls", "Student"]


class Proposal(msgspec.Struct, frozen=True):
    """What a student would do.

    Attributes:
        calls: The calls; none means that the teacher would reply with text.
        confidence: Estimated probability that the whole decision agrees strictly with the teacher (0..1).
        missing: Required arguments for which no value was found, as `tool.argument`; never sendable.
        source: Which tier answered: `cache` (this very context was seen) or `model`.
    """

    calls: tuple[ToolCall, ...] = ()
    confidence: float = 0.0
    missing: tuple[str, ...] = ()
    source: Literal["cache", "model"] = "model"

    @property
    def action(self) -> str:
        """The tool of the first call, or `REPLY`."""
        return action_of(self.calls)


@runtime_checkable
class Student(Protocol):
    """Proposes calls. Deterministic: equal states give equal proposals, whatever was asked before.

    It proposes offered tools only, and arguments that are valid under the offered schema.
    """

    @property
    def model_id(self) -> str:
        """Changes whenever a weight changes."""
        ...

    def propose(self, state: State) -> Proposal:
        """What the teacher would probably do now."""
        ...

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """As `propose` on each state; faster where the implementation can share work."""
        ...


@runtime_checkable
class Recalls(Protocol):
    """A student that knows some contexts by heart; it may be asked for those where nothing may block."""

    def recall(self, state: State) -> Proposal | None:
        """What `propose` would say, if that needs a look-up only: well below a millisecond; else `None`."""
        ...
