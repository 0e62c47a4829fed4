"""Facts about the loop that runs by itself: which stage a model is in, and what each agent decided, and why.

What this file does not know: how anything is decided.
"""

from __future__ import annotations

from typing import ClassVar

from ultracore.distillation.events.base import Event, JsonObject

__all__ = ["LoopDecidedEvent", "ModelStagedEvent"]


class ModelStagedEvent(Event, frozen=True, kw_only=True):
    """A certified model went to `shadow` (compared, seen by nobody) or `canary` (answers a share of conversations).

    Its later stages are facts of their own: `MODEL_DEPLOYED` (active), `MODEL_REJECTED`, `MODEL_ROLLED_BACK`.
    `against` is the model that it is compared with, `rules` what was declared before the comparison, `evidence`
    the numbers that led here. `share` is that of the conversations that a canary answers (0..1).
    """

    event_type: ClassVar[str] = "MODEL_STAGED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    stage: str
    reason: str
    against: str | None = None
    share: float = 0.0
    model_size: int = 0
    rules: JsonObject = {}
    evidence: JsonObject = {}


class LoopDecidedEvent(Event, frozen=True, kw_only=True):
    """An agent of the loop decided something: `action` is what, `reasons` why, `evidence` the numbers it saw.

    Waiting is a decision too; it is written down once, not again while nothing changes.
    """

    event_type: ClassVar[str] = "LOOP_DECIDED"
    aggregate_type: ClassVar[str] = "agent"
    aggregate_key: ClassVar[str] = "agent"

    agent: str
    action: str
    reasons: list[str] = []
    model_id: str | None = None
    evidence: JsonObject = {}
