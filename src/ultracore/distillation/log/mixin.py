"""A logger for any agent class, without set-up.

What this file does not know: how decisions are stored (`logger`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ultracore.distillation.log.logger import AgentDecisionLogger

__all__ = ["DecisionLoggerMixin"]


class DecisionLoggerMixin:
    """Inherit it and call `await self.log_decision(context, tools, selected, "reasoning")`.

    There is no `__init__` to call. Decisions carry the object's `agent_id`, or the name of its class
    where it has none.

    Example:
        >>> class Router(DecisionLoggerMixin):
        ...     agent_id = "router"
        >>> Router().decision_logger.get_history()
        []
    """

    @property
    def decision_logger(self) -> AgentDecisionLogger:
        """This object's logger, made when it is first asked for; assign another one to replace it."""
        logger: AgentDecisionLogger = self.__dict__.setdefault("_decision_logger", AgentDecisionLogger())
        return logger

    @decision_logger.setter
    def decision_logger(self, logger: AgentDecisionLogger) -> None:
        self.__dict__["_decision_logger"] = logger

    async def log_decision(
        self,
        context: Mapping[str, Any],
        tools_available: Iterable[Any],
        tool_selected: str | None,
        reasoning: str = "",
        confidence: float | None = None,
        **more: Any,
    ) -> str:
        """Write one decision of this agent down; see `AgentDecisionLogger.log_decision`.

        Returns:
            The event id.
        """
        agent_id = more.pop("agent_id", None) or getattr(self, "agent_id", None) or type(self).__name__
        return await self.decision_logger.log_decision(
            agent_id=str(agent_id),
            context=context,
            tools_available=tools_available,
            tool_selected=tool_selected,
            reasoning=reasoning,
            confidence=confidence,
            **more,
        )
