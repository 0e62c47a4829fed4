"""What a certificate can be about: whole calls, or only the choice of the tool.

What this file does not know: how either is measured (`train.evaluate`) and certified.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.certificate import Level
from ultracore.distillation.tools import Tool, ToolCall

__all__ = ["at_level", "is_known", "level_of"]


def is_known(decision: Decision) -> bool:
    """Whether a decision can be compared as a whole: its arguments were recorded, or there are none to record."""
    return strict(decision.calls, decision.calls, decision.state.tools) is not None


def level_of(decisions: Sequence[Decision]) -> Level:
    """`whole_call` if the arguments of at least half of the calls were recorded, else `tool`."""
    known = [is_known(decision) for decision in decisions if decision.is_call]
    return "whole_call" if 2 * sum(known) >= len(known) else "tool"


def at_level(decisions: Sequence[Decision], level: Level) -> list[Decision]:
    """The decisions as a student of this level learns and answers them.

    At level `tool` a decision is a bare choice: tools lose their parameters, calls their arguments.
    So tool choice is all that is learned, judged and measured, also where schemas were offered.
    """
    return list(decisions) if level == "whole_call" else [_bare(decision) for decision in decisions]


def _bare(decision: Decision) -> Decision:
    tools = [Tool(tool.name, tool.description) if tool.takes_arguments else tool for tool in decision.state.tools]
    calls = tuple(ToolCall(call.name, {}) for call in decision.calls)
    return msgspec.structs.replace(decision, state=State(decision.state.messages, tools), calls=calls)
