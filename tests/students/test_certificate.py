"""What a certificate lets out: complete calls, sure enough for their action, and only while it holds."""

from __future__ import annotations

import msgspec
import pytest

from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import ToolCall

HOLDS = Certificate(certified=True, thresholds={"f": 0.8})
CALL = (ToolCall("f", {}),)


def test_a_complete_call_at_its_threshold_goes_out() -> None:
    assert HOLDS.accepts(Proposal(CALL, 0.8))


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal(CALL, 0.79),
        Proposal(CALL, 1.0, missing=("f/x",)),
        Proposal((), 1.0),
        Proposal((ToolCall("g", {}),), 1.0),
        Proposal(CALL, float("nan")),
    ],
)
def test_anything_else_stays(proposal: Proposal) -> None:
    assert not HOLDS.accepts(proposal)


def test_a_refusal_lets_nothing_out() -> None:
    assert not msgspec.structs.replace(HOLDS, certified=False).accepts(Proposal(CALL, 1.0))


def test_a_certificate_written_before_there_were_levels_still_reads() -> None:
    old = b'{"certified":true,"thresholds":{"f":0.8},"pooled":true,"method":"betting","tools":{"f":"1"}}'
    assert msgspec.json.decode(old, type=Certificate).accepts(Proposal(CALL, 0.8))


def test_what_never_goes_out_and_what_needs_another_level_stays() -> None:
    g = ToolCall("g", {})
    certificate = msgspec.structs.replace(HOLDS, levels={"g": 0.98}, never=["h"], thresholds={"f": 0.8, "g": 0.9})
    assert certificate.accepts(Proposal((g,), 0.9))
    assert not certificate.accepts(Proposal((*CALL, g), 1.0))
    assert not certificate.accepts(Proposal((*CALL, ToolCall("h", {})), 1.0))
