"""What an optimization came to: which prompt stays, its figures on the test part, and why.

A candidate is refused, and the initial prompt stays, where it is not better on the test part, or where its gain on
the selection part lies above that on the test part by more than chance and `MAX_GAP` explain: then it fits those
examples, not the task. Gains are compared, because one part may simply be harder. What this file does not know: how
candidates were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

from ultracore.distillation.optimize.examples import Parts
from ultracore.distillation.optimize.figures import Estimate, apart, difference, mean, wilson
from ultracore.distillation.optimize.run import Candidate, Run

__all__ = ["OptimizationResult", "Outcome", "Tried", "result_of"]

MAX_GAP = 0.03
"""Of the gain on the selection part over that on the test part, beyond what their intervals explain."""


class Tried(NamedTuple):
    """A candidate that met the test part, with its scores there."""

    candidate: Candidate
    scores: Sequence[float]


class Outcome(NamedTuple):
    """A search that ended: test scores of the initial prompt, and of each stage's best."""

    run: Run
    method: str
    before: Sequence[float]
    start: Candidate
    tried: Sequence[Tried]
    seconds: float


class OptimizationResult(TypedDict, total=False):
    """What `optimize` gives; docs/prompts.md says what each key means."""

    optimized_prompt: str
    initial_score: float
    final_score: float
    improvement: float
    total_improvement: float
    dspy_score: float
    dspy_improvement: float
    gepa_improvement: float
    method: str
    engine: str
    status: str
    reason: str
    initial_interval: list[float]
    final_interval: list[float]
    improvement_interval: list[float] | None
    selection_score: float
    gap: float
    gap_interval: list[float] | None
    overfit: float | None
    overfit_interval: list[float] | None
    held_out: bool
    examples: dict[str, int]
    evaluations: int
    budget: int
    failures: dict[str, int]
    length: dict[str, int]
    candidates: list[dict[str, Any]]
    refused: list[str]
    prompt_id: str
    run_id: str
    notes: list[str]
    seconds: float


def result_of(outcome: Outcome, engine: str) -> OptimizationResult:
    """The result as users index it."""
    run = outcome.run
    chosen, refused = _chosen(outcome)
    initial, final = mean(outcome.before), mean(chosen.scores)
    units = run.parts.test_units
    gained, fitted = difference(chosen.scores, outcome.before, units), _overfit(outcome, chosen)
    is_new = chosen.candidate is not outcome.start
    result: OptimizationResult = {
        "optimized_prompt": chosen.candidate.prompt,
        "initial_score": initial,
        "final_score": final,
        "improvement": final - initial,
        "total_improvement": final - initial,
        "method": outcome.method,
        "engine": engine,
        "status": "optimized" if is_new else "unchanged",
        "reason": chosen.candidate.reason if is_new else refused[0],
        "initial_interval": list(wilson(initial, len(set(units)))),
        "final_interval": list(wilson(final, len(set(units)))),
        "improvement_interval": _ends(gained),
        "selection_score": chosen.candidate.score,
        "gap": chosen.candidate.score - final,
        "gap_interval": _ends(_gap(run.parts, chosen)),
        "overfit": None if fitted is None else fitted.value,
        "overfit_interval": _ends(fitted),
        "held_out": run.parts.held_out,
        "examples": _sizes(run.parts),
        "evaluations": run.used,
        "budget": run.budget,
        "failures": dict(run.failures),
        "length": {"before": len(outcome.start.prompt), "after": len(chosen.candidate.prompt)},
        "candidates": [_shown(candidate) for candidate in run.candidates],
        "refused": refused,
        "prompt_id": chosen.candidate.prompt_id,
        "run_id": run.journal.run_id,
        "notes": [*run.notes, *_warnings(run)],
        "seconds": outcome.seconds,
    }
    if len(outcome.tried) > 1:
        between = mean(outcome.tried[0].scores)
        result["dspy_score"] = between
        result["dspy_improvement"] = between - initial
        result["gepa_improvement"] = final - between
    return result


def _chosen(outcome: Outcome) -> tuple[Tried, list[str]]:
    """The last stage's candidate that is not refused, else the initial prompt; and why others were refused."""
    refused: list[str] = []
    for tried in reversed(outcome.tried):
        reason = _refused(outcome, tried)
        if not reason:
            return tried, refused
        refused.append(reason)
    return Tried(outcome.start, outcome.before), refused


def _refused(outcome: Outcome, tried: Tried) -> str:
    """Why a candidate does not replace the initial prompt, "" where it does."""
    run, best = outcome.run, tried.candidate
    if best is outcome.start:
        if run.is_flat:
            return "every prompt scored alike on everything: the evaluation function does not tell prompts apart"
        return "no candidate was better on the selection part"
    initial, final = mean(outcome.before), mean(tried.scores)
    if final <= initial:
        return f"the best candidate is not better on the test part ({final:.3f}, and {initial:.3f} before)"
    fitted = _overfit(outcome, tried)
    if fitted is not None and fitted.ends[0] > MAX_GAP:
        return (
            f"the best candidate fits the examples that it was chosen by: {best.score - outcome.start.score:+.3f} "
            f"there, {final - initial:+.3f} on test"
        )
    return ""


def _overfit(outcome: Outcome, tried: Tried) -> Estimate | None:
    """How far the gain on the selection part lies above the gain on the test part."""
    parts = outcome.run.parts
    chosen_by = difference(tried.candidate.scores, outcome.start.scores, parts.selection_units)
    return apart(chosen_by, difference(tried.scores, outcome.before, parts.test_units))


def _gap(parts: Parts, tried: Tried) -> Estimate | None:
    """How far the score on the selection part lies above that on the test part."""
    selection, test = tried.candidate.scores, tried.scores
    nothing = [0.0] * max(len(selection), len(test))
    return apart(
        difference(selection, nothing[: len(selection)], parts.selection_units),
        difference(test, nothing[: len(test)], parts.test_units),
    )


def _warnings(run: Run) -> list[str]:
    said = []
    if not run.parts.held_out:
        said.append("fewer than three independent examples: the scores are on the examples that were optimized on")
    if run.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(run.failures.items()))
        said.append(f"evaluations that failed count as 0: {kinds}")
    return said


def _sizes(parts: Parts) -> dict[str, int]:
    return {"train": len(parts.train), "selection": len(parts.selection), "test": len(parts.test)}


def _shown(candidate: Candidate) -> dict[str, Any]:
    return {
        "prompt_id": candidate.prompt_id,
        "parent_id": candidate.parent_id,
        "score": candidate.score,
        "evaluations": candidate.used,
        "length": len(candidate.prompt),
        "reason": candidate.reason,
    }


def _ends(estimate: Estimate | None) -> list[float] | None:
    return None if estimate is None else list(estimate.ends)
