"""What is declared before anything is measured: when to promote, when to train anew, and what a child may take.

What this file does not know: how anything is measured or done.
"""

from __future__ import annotations

import msgspec

from ultracore.distillation.errors import ConfigurationError

__all__ = ["Limits", "PromotionRules", "RetrainRules"]


class PromotionRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a candidate may replace the model that answers; shares are of all decisions.

    Attributes:
        alpha: Risk of each statement of the comparison, however often one looks (0..1).
        error_margin: By how much more it may answer wrongly than the other (0..1).
        coverage_margin: By how much less it may answer (0..1).
        action_margin: By how much more it may answer wrongly among the decisions of one action (0..1).
        least_of_action: Decisions of an action from which its margin counts.
        least_units: Conversations before anything is decided.
        most_units: Conversations after which a comparison that shows nothing ends in refusal.
        canary_share: Share of the conversations that a canary answers; 0: no canary (0..1).
        canary_units: Conversations that it must have answered.
        settle_seconds: A conversation counts once nothing was said in it for so long.
        cool_down_seconds: Least time between two promotions.
    """

    alpha: float = 0.05
    error_margin: float = 0.03
    coverage_margin: float = 0.10
    action_margin: float = 0.10
    least_of_action: int = 20
    least_units: int = 50
    most_units: int = 2000
    canary_share: float = 0.1
    canary_units: int = 20
    settle_seconds: float = 60.0
    cool_down_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse what no comparison could be made with.

        Raises:
            ConfigurationError: A share is out of range.
        """
        for name in ("alpha", "error_margin", "coverage_margin", "action_margin"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigurationError(f"{name} must lie strictly between 0 and 1, not {getattr(self, name)}")
        if not 0.0 <= self.canary_share <= 1.0:
            raise ConfigurationError(f"canary_share must lie between 0 and 1, not {self.canary_share}")


class RetrainRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a new student is due. Nothing here may make more trainings than the cap allows.

    Attributes:
        first_decisions: Labelled decisions for the first training.
        new_decisions: New labelled decisions since the last training that are reason enough.
        after_change: New labelled decisions to wait for after an alarm: those that show the new behaviour.
        new_tool_decisions: Decisions of the teacher for a tool that no certificate knows.
        stale_days: Age of a student at which it is due, if there are `after_change` new decisions.
        schedule_hours: Hours between trainings, whatever happens; `None`: no schedule.
        least_hours: The cap: hours between the beginnings of two trainings.
        most_a_day: The cap of any 24 hours.
    """

    first_decisions: int = 500
    new_decisions: int = 5000
    after_change: int = 200
    new_tool_decisions: int = 100
    stale_days: float = 30.0
    schedule_hours: float | None = None
    least_hours: float = 1.0
    most_a_day: int = 6


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a child process may take before it is ended.

    Attributes:
        seconds: Wall clock.
        megabytes: Address space.
        nice: Added to its niceness: the gateway goes first.
    """

    seconds: float = 3600.0
    megabytes: int = 8192
    nice: int = 10
