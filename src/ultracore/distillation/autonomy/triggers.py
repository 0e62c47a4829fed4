"""When a new student is due, and whether it may be trained yet: pure functions of what is known and of the rules.

What this file does not know: the log, and how training works.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from ultracore.distillation.autonomy.rules import RetrainRules
from ultracore.distillation.autonomy.situation import Situation
from ultracore.distillation.tools import REPLY

__all__ = ["Due", "capped", "due"]


class Due(NamedTuple):
    """Why a training is due.

    Attributes:
        reason: As `RETRAIN_TRIGGERED` names it.
        words: One sentence with the numbers.
    """

    reason: str
    words: str


def due(seen: Situation, rules: RetrainRules, known_tools: Collection[str] | None, now: datetime) -> Due | None:
    """The first reason for a training; `None` where there is none.

    Args:
        seen: What is known.
        rules: Declared before.
        known_tools: Of the newest certificate; `None` where there was never a training.
        now: The time.
    """
    if known_tools is None or seen.trained_at is None:
        enough = seen.labelled >= rules.first_decisions
        return Due("enough_decisions", f"{seen.labelled:,} decisions and no student yet") if enough else None
    for alarm in seen.alarms:
        if alarm.labelled >= rules.after_change:
            return Due(alarm.reason, f"{alarm.words}; {alarm.labelled:,} labelled decisions since")
    if seen.alarms:  # what has just changed is to be learned whole, its new tools included
        return None
    strange = {t: n for t, n in seen.tools.items() if t != REPLY and t not in known_tools}
    if sum(strange.values()) >= rules.new_tool_decisions:
        return Due("new_tools", f"the teacher calls {', '.join(sorted(strange))}, which no certificate knows")
    if seen.new >= rules.new_decisions:
        return Due("enough_decisions", f"{seen.new:,} new labelled decisions")
    return _by_time(seen, rules, now - datetime.fromisoformat(seen.trained_at))


def _by_time(seen: Situation, rules: RetrainRules, age: timedelta) -> Due | None:
    if rules.schedule_hours is not None and age >= timedelta(hours=rules.schedule_hours):
        return Due("scheduled", f"every {rules.schedule_hours:g} hours")
    if age >= timedelta(days=rules.stale_days) and seen.new >= rules.after_change:
        return Due("stale", f"the student is {age.days} days old; {seen.new:,} new labelled decisions")
    return None


def capped(seen: Situation, rules: RetrainRules, now: datetime) -> str:
    """Why no training may be asked for yet; "" where one may."""
    times = [datetime.fromisoformat(at) for at in seen.asked]
    if times and now - times[-1] < timedelta(hours=rules.least_hours):
        return f"the last training was asked for less than {rules.least_hours:g} hours ago"
    today = sum(now - at < timedelta(days=1) for at in times)
    if today >= rules.most_a_day:
        return f"{today} trainings were asked for in 24 hours, the most allowed"
    return ""
