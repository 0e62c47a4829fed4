"""The decision history: every decision of a model, who made it, what came of it.

What this file does not know: what is learned from it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from ultracore.distillation.errors import ProductError
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.products.product import DataProduct, Facts

__all__ = ["AgentDecisionHistoryProduct"]

STATISTICS = """
SELECT count(*) AS total_decisions, count(success) AS decisions_with_outcome, sum(success) AS successful_decisions,
  avg(success) AS success_rate, avg(confidence) AS average_confidence,
  avg(execution_time_ms) AS average_execution_time_ms, sum(cost_usd) AS total_cost_usd,
  count(DISTINCT agent_id) AS unique_agents, count(DISTINCT tool_selected) AS unique_tools,
  sum(source = 'student') AS answered_by_student, min(timestamp) AS first, max(timestamp) AS last
FROM decisions WHERE tenant_id = ?
"""


class AgentDecisionHistoryProduct(DataProduct):
    """One row a decision, its outcome merged; the newest first.

    Example:
        >>> AgentDecisionHistoryProduct().get_schema()["owner"]
        'ai_team'
    """

    product_id: ClassVar[str] = "agent_decision_history"
    order: ClassVar[str] = "timestamp DESC, position DESC"

    def get_statistics(
        self, agent_id: str | None = None, time_window_hours: float | None = 24, *, now: datetime | None = None
    ) -> Facts:
        """Figures of the last hours.

        Args:
            agent_id: Only this agent's decisions.
            time_window_hours: How far back; `None` for everything.
            now: When the window ends; the present by default.

        Returns:
            `total_decisions`, `success_rate` (of those with an outcome), `average_confidence`,
            `average_execution_time_ms`, `total_cost_usd`, `unique_agents`, `unique_tools` and more; what no row
            says anything of is `None`.

        Raises:
            ProductError: The window is not positive.
        """
        query, values = STATISTICS, [self.tenant]
        if agent_id is not None:
            query, values = f"{query} AND agent_id = ?", [*values, agent_id]
        if time_window_hours is not None:
            query, values = f"{query} AND timestamp >= ?", [*values, _since(time_window_hours, now)]
        self.rows.refresh()
        (row,) = self.rows.fetch(query, values)
        return Facts(agent_id=agent_id, time_window_hours=time_window_hours, **row)

    def get_quality_metrics(self) -> Facts:
        """`completeness`, `accuracy`, `timeliness`, `consistency`, `uniqueness`, each 0..1, measured from the rows.

        `accuracy` is the contract's rule `validity`: the tool was offered and the arguments keep its schema.
        """
        measured: dict[str, Any] = self.measure_quality(record=False)
        names = ("completeness", "timeliness", "consistency", "uniqueness")
        return Facts({name: measured[name] for name in names}, accuracy=measured["validity"])


def _since(hours: float, now: datetime | None) -> str:
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < 1e6:
        raise ProductError(f"time_window_hours must be positive, or None for everything, not {hours!r}")
    return ((now or utc_now()) - timedelta(hours=hours)).isoformat()
