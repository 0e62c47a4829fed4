"""How well does the student learn? One table: sets by methods, on tasks that none of them has seen.

What this file does not know: where the sets come from (`data`), and how a student is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cross_validation import LEVELS, STUDENT, Comparison, Measured, compare_all
from benchmarks.data import Size, decisions_of
from benchmarks.mixle_peer import mixle
from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.agreement import infer_free_text
from ultracore.distillation.decisions import CIRCLE
from ultracore.distillation.train.ceiling import measure_ceiling
from ultracore.distillation.train.evaluate import Judged, gate_rows, latency, measure_test, recurring
from ultracore.distillation.train.metrics import bootstrap_shares
from ultracore.distillation.train.thresholds import tuned_level

__all__ = ["figures_of", "measure_students", "oracle_coverage"]

PROTOCOL = {
    "airline-recurring": "trained on trials 0-2, tested on trial 3 of the same tasks",
    "snips": "trained on rows of the training file, tested on the test file",
    "bank": "synthetic, 5-fold by task",
} | dict.fromkeys(
    ("banking77", "metatool", "seal-tools", "bfcl-live", "sgd"), "trained on training rows, tested on test rows"
)
WITHOUT_CEILING = frozenset({"snips"})
"""Single requests: hardly a context recurs."""
LEAST_PAIRS = 100


def measure_students(name: str, data: Path, size: Size, processes: int = 2, *, with_mixle: bool = False) -> Section:
    """One set of data: all of its divisions, pooled."""
    figures = figures_of(compare_all(name, data, size, processes))
    if with_mixle and name == "snips":
        figures["methods"]["mixle 0.8.2"] = _mixle(data, size)
    figures["ceiling"] = None if size.quick or name in WITHOUT_CEILING else _ceiling(name, data)
    test = figures["methods"][STUDENT]["test"]
    protocol = "quick: a few tasks only" if size.quick else PROTOCOL.get(name, "5-fold by task")
    about = f"{test['n']:,} decisions of {test['tasks']} tasks, {protocol}"
    return Section(f"students/{name}", about, _tables(name, figures), figures=figures)


def figures_of(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The figures of pooled divisions, as plain JSON."""
    names = comparisons[0].methods
    judged = [row for c in comparisons for row in c.methods[STUDENT].judged]
    return {
        "methods": {name: _method([c.methods[name] for c in comparisons]) for name in names},
        "oracle": {
            str(level): {
                "strict": oracle_coverage(judged, level),
                "tolerant": oracle_coverage(judged, level, is_tolerant=True),
            }
            for level in LEVELS
        },
        "recurring": recurring(judged),
        "circles": _circles(judged),
        "trained_on": [c.trained_on for c in comparisons],
        "rows": [_plain(row) for row in judged],
    }


def _method(parts: Sequence[Measured]) -> dict[str, Any]:
    judged = [row for part in parts for row in part.judged]
    return {
        "test": measure_test(judged),
        "coverage": {str(level): _gated(judged, [s for p in parts for s in p.sent[level]]) for level in LEVELS},
        "certified": {
            str(level): _gated(judged, [s for p in parts for s in p.certified[level]])
            for level in LEVELS
            if all(level in part.certified for part in parts)
        },
        "fit_cpu_seconds": [part.fit_seconds for part in parts],
        "latency_cpu_ms": latency([ms for part in parts for ms in part.milliseconds]),
    }


def _ceiling(name: str, data: Path) -> dict[str, Any] | None:
    """The teacher's agreement with itself: in identical contexts where there are enough pairs, else in alike ones."""
    decisions = decisions_of(name.removesuffix("-recurring"), data)
    found = measure_ceiling(decisions, infer_free_text(decisions))
    for kind, figures in (("identical contexts", found.exact), ("alike contexts", found.same_state)):
        if figures.whole_call_pairs >= LEAST_PAIRS and figures.whole_call:
            return {"whole_call": figures.whole_call, "pairs": figures.whole_call_pairs, "kind": kind}
    return None


def _mixle(data: Path, size: Size) -> dict[str, Any]:
    from benchmarks.data import parts_of

    return _method([mixle(parts_of("snips", data, size)[0])])


def oracle_coverage(judged: Sequence[Judged], level: float, *, is_tolerant: bool = False) -> float:
    """Share of all decisions sent at the one threshold, chosen on these very rows, whose calls agree at `level`.

    Nobody can know that threshold beforehand: it says how well confidence ranks, not what a user gets.
    """
    known = [row for row in judged if row.whole is not None]
    rows = gate_rows(known)
    agrees = np.array([bool(row.whole_tolerant) for row in known]) if is_tolerant else rows.agrees
    confidence = np.where(rows.sendable, rows.confidence, -np.inf)
    least = tuned_level(confidence, agrees, level)
    return 0.0 if least is None else float((confidence >= least).mean())


def _circles(judged: Sequence[Judged]) -> dict[str, Any]:
    """Decisions in circles, and what the others say: some episodes repeat one call a hundred times."""
    mine = [row for row in judged if row.in_circles]
    rest = measure_test([row for row in judged if not row.in_circles])
    return {
        "n": len(mine),
        "episodes": len({row.decision.episode for row in mine}),
        "agreement": float(np.mean([bool(row.whole) for row in mine])) if mine else None,
        "confidence": float(np.mean([row.proposal.confidence for row in mine])) if mine else None,
        "elsewhere": rest,
    }


def _plain(row: Judged) -> dict[str, Any]:
    """One test decision, for whoever wants to look closer."""
    proposal, decision = row.proposal, row.decision
    return {
        "episode": decision.episode,
        "step": decision.step,
        "teacher": decision.action,
        "student": proposal.action,
        "confidence": round(proposal.confidence, 4),
        "complete": not proposal.missing,
        "source": proposal.source,
        "strict": row.whole,
        "tolerant": row.whole_tolerant,
    }


def _gated(judged: Sequence[Judged], sent: Sequence[bool]) -> dict[str, Any]:
    """Coverage, and strict and tolerant agreement of what is sent, with intervals by task."""
    columns = np.array([[s, s and row.whole, s and row.whole_tolerant] for row, s in zip(judged, sent, strict=True)])
    codes = np.unique([row.unit for row in judged], return_inverse=True)[1]
    totals = np.zeros((codes.max() + 1, 4))
    np.add.at(totals, codes, np.column_stack([np.ones(len(judged)), columns.astype(float)]))
    everything, calls, strict, tolerant = totals.T
    hits, of = np.column_stack([calls, strict, tolerant]), np.column_stack([everything, calls, calls])
    intervals = bootstrap_shares(hits, of)
    shares = [float(h / n) if n else None for h, n in zip(hits.sum(axis=0), of.sum(axis=0), strict=True)]
    names = ("coverage", "agreement", "agreement_tolerant")
    return {
        "sent": int(calls.sum()),
        **dict(zip(names, shares, strict=True)),
        "interval": dict(zip(names, intervals, strict=True)),
    }


def _tables(name: str, figures: dict[str, Any]) -> list[Table]:
    return [_methods(name, figures), _student(name, figures), *_in_circles(name, figures["circles"])]


def _in_circles(name: str, circles: dict[str, Any]) -> list[Table]:
    """Nothing where the teacher never goes in circles."""
    if not circles["n"]:
        return []
    rest = circles["elsewhere"]
    return [
        Table(
            "Where the teacher goes in circles, %",
            ["data", "decisions / episodes", "strict", "confidence", "strict elsewhere", "ECE", "n"],
            [[name, f"{circles['n']:,} / {circles['episodes']}", share(circles["agreement"]),
              share(circles["confidence"]), share(rest["whole_call"], rest["interval"].get("whole_call")),
              number(rest["ece"], 3), f"{rest['n']:,}"]],
            f"In circles: the last {CIRCLE} decisions of the episode were one and the same call. A few such episodes "
            "hold as many decisions as many others do, and whether a student joins in is all or nothing.",
        )
    ]  # fmt: skip


def _methods(name: str, figures: dict[str, Any]) -> Table:
    columns = ["data", "who", "decisions / tasks", "whole call, strict", "tolerant", "tool", "of the ceiling"]
    levels = [f"{level:.0%}: calls sent (agree)" for level in LEVELS]
    rest = ["certified at 93%", "fit, CPU s", "p50 / p99, CPU ms"]
    rows = [_row(name, who, method, figures["ceiling"]) for who, method in figures["methods"].items()]
    return Table(
        "Who agrees with the teacher, %",
        [*columns, *levels, *rest],
        rows,
        "Calls sent: share of all decisions that tuned thresholds send, and how much of that agrees strictly; text "
        "replies are never sent. Certified: sent under a certificate from the other half of the test tasks. Of the "
        "ceiling: strict agreement over the teacher's own with itself. mixle has no threshold to choose: what it "
        "answers stands in every level.",
    )


def _row(name: str, who: str, method: dict[str, Any], ceiling: dict[str, Any] | None) -> list[str]:
    test, ms = method["test"], method["latency_cpu_ms"]
    whole = test["whole_call"]
    return [
        name, who, f"{test['n']:,} / {test['tasks']:,}",
        *(share(test[key], test["interval"].get(key)) for key in ("whole_call", "whole_call_tolerant", "tool")),
        "-" if ceiling is None else share(whole / ceiling["whole_call"]),
        *(_sent(method["coverage"][str(level)]) for level in LEVELS),
        _sent(method["certified"][str(LEVELS[0])]) if method["certified"] else "-",
        number(float(np.mean(method["fit_cpu_seconds"]))), f"{ms['p50']:.2f} / {ms['p99']:.2f}",
    ]  # fmt: skip


def _sent(found: dict[str, Any]) -> str:
    if not found["sent"]:
        return "0"
    covered, agree = share(found["coverage"], found["interval"]["coverage"]), share(found["agreement"])
    return f"{covered} ({agree} of {found['sent']:,})"


def _student(name: str, figures: dict[str, Any]) -> Table:
    test, seen, ceiling = figures["methods"][STUDENT]["test"], figures["recurring"], figures["ceiling"]
    oracle = figures["oracle"][str(LEVELS[0])]
    shown = [share(test[key], test["interval"].get(key)) for key in ("call_or_reply", "whole_call_on_calls")]
    chance = " / ".join(number(value, 3) for value in (test["ece_by_chance"] or {}).values()) or "-"
    calibration = [number(test["ece"], 3), chance, number(test["ece_debiased"], 3)]
    limit = (
        "-" if ceiling is None else f"{share(ceiling['whole_call'])} ({ceiling['pairs']:,} pairs, {ceiling['kind']})"
    )
    return Table(
        "The compact student in more detail, %",
        ["data", "learned from", "call or reply", "strict, where the teacher calls", "ECE",
         "ECE by chance: mean / 95 % / 95 % of tasks", "ECE, debiased",
         "oracle at 93%, strict / tolerant", "teacher with itself", "contexts seen before (agree)",
         "strict, new contexts"],
        [[name, number(float(np.mean(figures["trained_on"])), 0), *shown, *calibration,
          f"{share(oracle['strict'])} / {share(oracle['tolerant'])}", limit,
          f"{share(seen['share'])} ({share(seen['agreement'])})", share(seen["new_agreement"])]],
        "ECE: confidence against strict agreement, 10 bins; by chance: what a perfectly calibrated student with the "
        "same confidences would show, its 95 % bound, and that where decisions of a task go right and wrong "
        "together; debiased: root mean square over 15 bins less what chance shows. Oracle: the one threshold chosen on "
        "the test rows themselves, which nobody has beforehand. One decision at a time, whole conversations read anew; "
        "contexts seen before are answered from memory.",
    )  # fmt: skip
