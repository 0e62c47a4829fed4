"""Further calls of one message: once a call is chosen, the same question is asked again with it pending.

A reply then means that the message is complete. So a set of calls needs no model of its own: the
rankers are trained on the teacher's messages cut after each of their calls. What this file does not
know: which draft is proposed first (`drafts`), and whether to send it (`student`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.drafts import DRAFT_FEATURES, Draft
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.tools import ToolCall

__all__ = ["MAX_CALLS", "WHOLE_FEATURES", "complete"]

Floats = NDArray[np.float32]

MAX_CALLS = 8
"""Calls of one message, at most."""

WHOLE_FEATURES = DRAFT_FEATURES + 3

Next = Callable[[tuple[ToolCall, ...]], Draft]
"""The likeliest draft when these calls are pending; one without calls ends the message."""


def complete(first: Draft, may_go_on: Callable[[str], bool], next_draft: Next) -> Draft:
    """A draft with all further calls of its message.

    Args:
        first: The draft of the first call.
        may_go_on: Whether a call of a tool may be followed by another.
        next_draft: Says what comes next.

    Returns:
        The whole message; its features are [WHOLE_FEATURES] float32.
    """
    calls, missing, sure = first.calls, first.missing, [0.0]
    while calls and not missing and len(calls) < MAX_CALLS and may_go_on(calls[-1].name):
        found = next_draft(calls)
        sure.append(math.log(max(found.share, 1e-6)))
        if not found.calls or _text(found.calls[0]) in map(_text, calls):
            break
        calls, missing = calls + found.calls, found.missing
    about = [sum(sure), min(sure), (len(calls) - 1.0) / MAX_CALLS if calls else 0.0]
    return Draft(calls, missing, np.concatenate([first.features, np.array(about, np.float32)]), first.share)


def _text(call: ToolCall) -> str:
    return call.name + key_of(call.arguments or {})
