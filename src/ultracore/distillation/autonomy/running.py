"""Puts the loop together for a home folder: the watcher, children that train, and the lock of the leader.

What this file does not know: the command line.
"""

from __future__ import annotations

from ultracore.distillation.autonomy.child import COMPACT, ChildBackend
from ultracore.distillation.autonomy.cycle import Cycle
from ultracore.distillation.autonomy.rules import Limits, PromotionRules, RetrainRules
from ultracore.distillation.autonomy.supervisor import Supervisor, leader_lock_at
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.settings import Settings
from ultracore.distillation.watch.notify import notifiers
from ultracore.distillation.watch.watcher import Watcher

__all__ = ["supervisor_at"]


def supervisor_at(
    settings: Settings,
    *,
    promotion: PromotionRules | None = None,
    retraining: RetrainRules | None = None,
    limits: Limits | None = None,
    every_seconds: float = 5.0,
    backend: str = COMPACT,
) -> Supervisor:
    """A supervisor of the loop on the log and the models of the settings.

    Args:
        settings: Where they are, and whose.
        promotion: Rules of promotion.
        retraining: Rules of retraining.
        limits: What a training or a comparison may take.
        every_seconds: Between rounds.
        backend: What the children open.
    """
    store = open_store(settings.home_path, settings)
    rules = promotion or PromotionRules()
    cycle = Cycle(
        store, settings.home_path, settings.tenant,
        ChildBackend(settings, rules, limits or Limits(), backend=backend),
        look=Watcher(store, settings, notify=notifiers(settings)).look, retraining=retraining,
    )  # fmt: skip
    return Supervisor(cycle, leader_lock_at(settings), every_seconds=every_seconds)
