"""Certificates for several levels of agreement, from what a student proposes on development and calibration.

Each level is a statement of its own, wrong with probability delta; only one of them is served. What
this file does not know: the tests (`train.certify`), and which certificate is deployed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultracore.distillation.decisions import Decision, prompt_fingerprint
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.train.certify import certify
from ultracore.distillation.train.evaluate import Judged, gate_rows

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
        seed: Fixes the order of the calibration units.
    """
    about: dict[str, Any] = {
        "level": level,
        "delta": delta,
        "seed": seed,
        "data_id": data_id_of([row.decision for row in calibration]),
        "model_id": model_id,
        "teacher": teacher,
        "tools": {tool.name: tool.fingerprint for decision in offered for tool in decision.state.tools},
        "prompts": sorted({prompt_fingerprint(decision.state.messages) for decision in offered}),
    }
    rows = gate_rows(development, level), gate_rows(calibration, level)
    return {target: certify(*rows, target=target, **about) for target in sorted(set(targets))}


def data_id_of(decisions: Sequence[Decision]) -> str:
    """Fingerprint of decisions: of their events where they are logged, else of their content."""
    return fingerprint([decision.event_id or fingerprint(decision) for decision in decisions])
