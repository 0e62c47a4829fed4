"""Certificates for several levels of agreement, from what a student proposes on development and calibration.

Each level is a statement of its own, wrong with probability delta; only one of them is served. Within a
certificate the calls of tools that need a level of their own (destructive ones, or by the user's policy)
are tested apart: a statement each, with delta each. What this file does not know: the tests
(`train.certify`), and which certificate is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.decisions import Decision, prompt_fingerprint
from ultracore.distillation.policy import NO_POLICY, Policy
from ultracore.distillation.students.certificate import Certificate, Level, RiskClass
from ultracore.distillation.students.prompt_shapes import PromptShapes
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.train.certify import certify
from ultracore.distillation.train.evaluate import Judged, gate_rows, rows_by_level
from ultracore.distillation.train.thresholds import GateRows

__all__ = ["certify_levels", "data_id_of"]


def certify_levels(
    development: Sequence[Judged],
    calibration: Sequence[Judged],
    targets: Sequence[float],
    *,
    level: Level,
    delta: float,
    model_id: str,
    teacher: str,
    offered: Sequence[Decision],
    policy: Policy = NO_POLICY,
    seed: int = 0,
) -> dict[float, Certificate]:
    """One certificate, issued or refused, for each target.

    Args:
        development: Out-of-fold proposals on training tasks.
        calibration: The student's proposals on tasks that it has not seen.
        targets: Levels of agreement among sent calls (0..1).
        level: What they are about: whole calls, or tools only.
        delta: Allowed probability of certifying wrongly (0..1).
        model_id: The student.
        teacher: The teacher model.
        offered: Every decision of the traffic that it speaks about, as it was logged: a gateway sends no call
            of a tool that was not among them, nor one under another system prompt. Of several definitions of
            one tool the last counts.
        policy: What the user says about their tools.
        seed: Fixes the order of the calibration units.
    """
    tools = {tool.name: tool for decision in offered for tool in decision.state.tools}
    about: dict[str, Any] = {
        "level": level,
        "delta": delta,
        "data_id": data_id_of([row.decision for row in calibration]),
        "model_id": model_id,
        "teacher": teacher,
        "tools": {name: tool.fingerprint for name, tool in tools.items()},
        "prompts": sorted({prompt_fingerprint(decision.state.messages) for decision in offered}),
        "prompt_shapes": PromptShapes.of(offered),
    }
    about |= {
        "never": policy.never,
        "policy": "" if policy == NO_POLICY else policy.fingerprint,
        "comparators": policy.comparators(NO_COMPARATORS).declared,
    }
    found = {}
    for target in sorted(set(targets)):
        levels = policy.levels(tools.values(), target)
        blank = Certificate(certified=False, target=target, levels=levels, **about)
        learned, unseen = (gate_rows(judged, blank, weighed=True) for judged in (development, calibration))
        found[target] = _certify(blank, learned, unseen, seed)
    return found


def _certify(blank: Certificate, development: GateRows, calibration: GateRows, seed: int) -> Certificate:
    rows, unseen = rows_by_level(development, blank), rows_by_level(calibration, blank)
    none = replace(calibration, sendable=np.zeros_like(calibration.sendable))
    parts = {
        level: certify(mine, unseen.get(level, none), target=level, delta=blank.delta, level=blank.level, seed=seed)
        for level, mine in rows.items()
    }
    return _together(blank, parts)


def _together(blank: Certificate, parts: Mapping[float, Certificate]) -> Certificate:
    """One certificate of the statements about each level, the ordinary one in first place."""
    ordinary, issued = parts[blank.target], [part for part in parts.values() if part.certified]
    classes = [_class(blank, level, part) for level, part in parts.items()]
    sent, decisions = sum(part.sent for part in issued), ordinary.decisions
    return msgspec.structs.replace(
        blank,
        certified=bool(issued),
        reason=" ".join([ordinary.reason, *(_sentence(one) for one in classes[1:])]),
        thresholds={action: least for part in issued for action, least in part.thresholds.items()},
        pooled=any(part.pooled for part in issued) or len(issued) > 1,
        alone=sorted(action for part in issued for action in part.alone),
        method=ordinary.method or next((part.method for part in issued), ""),
        units=ordinary.units,
        decisions=decisions,
        sent=sent,
        agreeing=sum(part.agreeing for part in issued),
        coverage=sum((part.coverage for part in issued), 0.0),
        lower_bound=ordinary.lower_bound,
        cap=ordinary.cap,
        more_units=None if ordinary.certified else ordinary.more_units,
        classes=classes,
    )


def _class(blank: Certificate, level: float, part: Certificate) -> RiskClass:
    tools = [] if level == blank.target else sorted(t for t, own in blank.levels.items() if own == level)
    return RiskClass(
        target=level, certified=part.certified, reason=part.reason, tools=tools, alone=part.alone, method=part.method,
        sent=part.sent, agreeing=part.agreeing, lower_bound=part.lower_bound, cap=part.cap, more_units=part.more_units,
    )  # fmt: skip


def _sentence(one: RiskClass) -> str:
    verdict = "certified" if one.certified else "not certified, so they stay with the teacher"
    return f"Calls of {', '.join(one.tools)} at {one.target:.1%}: {verdict}. {one.reason}"


def data_id_of(decisions: Sequence[Decision]) -> str:
    """Fingerprint of decisions: of their events where they are logged, else of their content."""
    return fingerprint([decision.event_id or fingerprint(decision) for decision in decisions])
