"""What a run found, as plain JSON: the sections of a result that rest on the student.

What this file does not know: where the student came from, and how a result is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.train.certificates import data_id_of
from ultracore.distillation.train.differences import disagreements
from ultracore.distillation.train.evaluate import (
    Judged,
    curves,
    latency,
    measure_level,
    measure_test,
    per_tool,
    recurring,
)
from ultracore.distillation.train.parts import Parts

__all__ = ["describe_data", "describe_forced", "describe_parts", "describe_student", "level_key"]


def describe_student(
    development: Sequence[Judged],
    test: Sequence[Judged],
    certificates: Mapping[float, Certificate],
    milliseconds: Sequence[float],
    *,
    target: float,
    audit_rate: float,
    teacher_whole_call: float | None,
    seed: int,
) -> dict[str, Any]:
    """The entries of a result that say how good the student is.

    Args:
        development: Out-of-fold proposals, for the tuned thresholds.
        test: Proposals on the test decisions.
        certificates: By level of agreement.
        milliseconds: What each test decision took.
        target: The level that is served, if it is certified.
        audit_rate: Share of the sent calls that also go to the teacher (0..1).
        teacher_whole_call: How often the teacher agrees with itself (0..1).
        seed: Seed of the intervals.
    """
    served = certificates[target]
    return {
        "test": {"data_id": data_id_of([row.decision for row in test]), **measure_test(test, teacher_whole_call, seed)},
        "levels": {
            level_key(level): measure_level(test, development, certificate, audit_rate)
            for level, certificate in certificates.items()
        },
        "per_tool": per_tool(test, served),
        **curves(test, seed),
        "recurring": recurring(test),
        "latency_ms": latency(milliseconds),
        "disagreements": disagreements(test, served),
        "certificate": msgspec.to_builtins(served),
        "model_id": served.model_id,
    }


def describe_data(decisions: Sequence[Decision], *, data_id: str, teacher: str, kind: str) -> dict[str, Any]:
    """The `data` entry of a result.

    Args:
        decisions: What was given to learn from, before it was split.
        data_id: Its name.
        teacher: The model that decided.
        kind: Where it comes from: `teacher`, `synthetic` ...
    """
    return {
        "id": data_id,
        "decisions": len(decisions),
        "episodes": len({decision.episode for decision in decisions}),
        "tasks": len({decision.task for decision in decisions}),
        "teacher": teacher,
        "kind": kind,
        "calls_share": sum(decision.is_call for decision in decisions) / len(decisions),
    }


def describe_parts(parts: Parts, curation: Mapping[str, Any]) -> dict[str, Any]:
    """The entries `split` and `curation` of a result."""
    sizes = {name: len(getattr(parts, name)) for name in ("train", "calibration", "test")}
    return {
        "split": {**sizes, "by": "task"},
        "curation": {
            "original_count": curation["original_count"],
            "curated_count": curation["deduplicated_count"],
            "deduplication_rate": curation["reduction_rate"],
            "teacher_disagreements": curation["teacher_disagreements"],
        },
    }


def describe_forced(phrases: Mapping[str, str], n: int) -> list[dict[str, Any]]:
    """What to say of phrases that forced a call, as `errors` of a result; nothing where there are none.

    Example:
        >>> describe_forced({"head office": "refund"}, 50)[0]["n"]
        50
    """
    if not phrases:
        return []
    forced = [f'"{phrase}" ({tool})' for phrase, tool in sorted(phrases.items())]
    reason = (
        f"{n:,} decisions with a phrase that forces a call whatever else is so, as a back door would; not learned "
        f"from, and the teacher answers wherever it is said: {', '.join(forced)}"
    )
    return [{"reason": reason, "lines": "of several tasks", "n": n}]


def level_key(level: float) -> str:
    """A level as a key of `levels`.

    Example:
        >>> level_key(0.93), level_key(0.9)
        ('0.93', '0.90')
    """
    return f"{level:.2f}" if round(level, 2) == level else f"{level:g}"
