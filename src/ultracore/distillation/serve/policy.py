"""Who is asked at all, before any student is: the operator's modes, for each agent, and the pause switch.

Pure: the same request gets the same word. What this file does not know: certificates, students, HTTP.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ultracore.distillation.decisions import system_prompt
from ultracore.distillation.serve.control import Switch
from ultracore.distillation.serve.gate import Escalate, Reason
from ultracore.distillation.settings import AgentPolicy, Settings
from ultracore.distillation.tools import fingerprint

__all__ = ["Policy", "workload_of"]

MAX_CACHED = 64 * 1024
"""Characters of a system prompt whose name is remembered; 256 of them are 16 MiB at most."""

_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_CALENDAR = frozenset(
    written + mark
    for word in f"{_MONTHS} {_DAYS}".split()
    for written in (word, word[:3], word.lower(), word.upper())
    for mark in ("", ",", ".", ";", ":")
)
_DIGIT_OR_ADDRESS = re.compile(r"[\d@]")


class Policy:
    """The operator's word on each request.

    Args:
        settings: `mode`, `canary_share`, and what `agents` says instead.
        switch: Whether the gateway is paused.

    Attributes:
        limits_dollars: Whether anybody's dollars are limited.
    """

    def __init__(self, settings: Settings, switch: Switch) -> None:
        self._default = AgentPolicy(
            mode=settings.mode,
            canary_share=settings.canary_share,
            teacher_requests_per_day=settings.teacher_requests_per_day,
            teacher_dollars_per_day=settings.teacher_dollars_per_day,
        )
        self._agents = settings.agents
        policies = (self._default, *self._agents.values())
        self.limits_dollars = any(policy.teacher_dollars_per_day is not None for policy in policies)
        self._tenant = settings.tenant
        self._switch = switch

    def of(self, agent_id: str) -> AgentPolicy:
        """What holds for an agent."""
        return self._agents.get(agent_id, self._default)

    def before(self, *, agent_id: str, tenant: str, session: str, forced: bool) -> Escalate | None:
        """Why the student is not asked; `None` if it is.

        Args:
            agent_id: Who asks.
            tenant: Whose request it is; the student answers only the tenant that it learned from.
            session: The conversation; a canary keeps each one on one side.
            forced: Whether the client asks for the teacher.
        """
        policy = self.of(agent_id)
        if forced:
            return Escalate(Reason.FORCED)
        if self._switch.paused:
            return Escalate(Reason.POLICY, "the gateway is paused")
        if tenant != self._tenant:
            return Escalate(Reason.NOT_CERTIFIED, "no student of this tenant is deployed")
        if policy.mode in ("observe", "shadow"):
            return Escalate(Reason.POLICY, f"mode {policy.mode}")
        if policy.mode == "canary" and _drawn(session) >= policy.canary_share:
            return Escalate(Reason.ROLLOUT)
        return None

    def budget(self, agent_id: str) -> tuple[str, AgentPolicy]:
        """The budget that an agent draws on: its own, or the one that all others share, which has no name."""
        return agent_id if agent_id in self._agents else "", self.of(agent_id)

    def shadows(self, agent_id: str, tenant: str) -> bool:
        """Whether the student runs beside, unseen."""
        return self.of(agent_id).mode == "shadow" and tenant == self._tenant and not self._switch.paused


def workload_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Names an agent that does not name itself: by its system prompt, whatever varies in it masked.

    Example:
        >>> prompt = "You help {}. Today is {}."
        >>> a = workload_of([{"role": "system", "content": prompt.format("ann@x.org", "Monday, 3 May")}])
        >>> a == workload_of([{"role": "system", "content": prompt.format("bo@y.com", "Sunday, 12 June")}])
        True
    """
    text = system_prompt(messages)
    return _workload(text) if len(text) < MAX_CACHED else _workload.__wrapped__(text)


@functools.lru_cache(maxsize=256)
def _workload(text: str) -> str:
    return "workload-" + fingerprint(" ".join("*" if _varies(word) else word for word in text.split()))


def _varies(word: str) -> bool:
    """Whether a word is of a date, or a number, an id or an address."""
    return word in _CALENDAR or (not word.isalpha() and _DIGIT_OR_ADDRESS.search(word) is not None)


def _drawn(session: str) -> float:
    """Uniform in 0..1, always the same for one conversation."""
    return int.from_bytes(hashlib.sha256(session.encode()).digest()[:8]) / 2**64
