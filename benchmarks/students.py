"""How well does the student learn? Agreement, calibration, coverage and cost on tasks that it has not seen.

What this file does not know: where the sets come from (`data`), and how a student is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cross_validation import LEVELS, Comparison, compare_all
from benchmarks.data import Size
from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.train.evaluate import Judged, gate_rows, latency, measure_test, recurring
from ultracore.distillation.train.metrics import bootstrap_shares
from ultracore.distillation.train.thresholds import tuned_level

__all__ = ["figures_of", "measure_students", "oracle_coverage"]

PROTOCOL = {
    "airline-recurring": "trained on trials 0-2, tested on trial 3 of the same tasks",
    "snips": "trained on rows of the training file, tested on the test file",
    "bank": "synthetic, 5-fold by task",
}


def measure_students(name: str, data: Path, size: Size, processes: int = 2) -> Section:
    """One set of data: all of its divisions, pooled."""
    figures = figures_of(compare_all(name, data, size, processes))
    test = figures["test"]
    protocol = "quick: a few tasks only" if size.quick else PROTOCOL.get(name, "5-fold by task")
    about = f"{test['n']:,} decisions of {test['tasks']} tasks, {protocol}"
    return Section(f"students/{name}", about, _tables(name, figures), figures=figures)


def figures_of(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The figures of pooled divisions, as plain JSON."""
    judged = [row for c in comparisons for row in c.judged]
    return {
        "test": measure_test(judged),
        "coverage": {
            str(level): {
                **_gated(judged, [sent for c in comparisons for sent in c.sent[level]]),
                "oracle": oracle_coverage(judged, level),
                "oracle_tolerant": oracle_coverage(judged, level, is_tolerant=True),
            }
            for level in LEVELS
        },
        "baselines": {
            name: measure_test([row for c in comparisons for row in c.baselines[name]])
            for name in comparisons[0].baselines
        },
        "recurring": recurring(judged),
        "trained_on": [c.trained_on for c in comparisons],
        "fit_cpu_seconds": [c.fit_seconds for c in comparisons],
        "latency_cpu_ms": latency([ms for c in comparisons for ms in c.milliseconds]),
        "rows": [_plain(row) for row in judged],
    }


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
    return [_agreement(name, figures), _coverage(name, figures), _baselines(name, figures), _cost(name, figures)]


def _agreement(name: str, figures: dict[str, Any]) -> Table:
    test, baselines = figures["test"], figures["baselines"]
    shown = ("whole_call", "whole_call_tolerant", "tool", "call_or_reply", "whole_call_on_calls")
    cells = [share(test[key], test["interval"].get(key)) for key in shown]
    best = max(baselines, key=lambda b: baselines[b]["whole_call"])
    row = [name, f"{test['tasks']} / {test['n']:,}", *cells, number(test["ece"], 3), share(_gain(figures, best))]
    columns = ["data", "tasks / decisions", "whole call, strict", "tolerant", "tool", "call or reply"]
    return Table(
        "Agreement with the teacher, %",
        [*columns, "strict, where it calls", "ECE", "strict over best baseline"],
        [row],
        "ECE: 10 bins, confidence against strict agreement. The last column is in points.",
    )


def _gain(figures: dict[str, Any], baseline: str) -> float:
    return float(figures["test"]["whole_call"] - figures["baselines"][baseline]["whole_call"])


def _coverage(name: str, figures: dict[str, Any]) -> Table:
    rows = []
    for level, found in figures["coverage"].items():
        ends = found["interval"]
        shown = [share(found[key], ends[key]) for key in ("coverage", "agreement", "agreement_tolerant")]
        oracle = [share(found[key]) for key in ("oracle", "oracle_tolerant")]
        rows.append([name, f"{float(level):.0%}", *shown, f"{found['sent']:,}", *oracle])
    return Table(
        "Calls sent, % of all decisions (text replies are never sent)",
        ["data", "level", "coverage, tuned", "achieved, strict", "achieved, tolerant", "sent", "oracle, strict",
         "oracle, tolerant"],
        rows,
        "Tuned: thresholds for each action from out-of-fold proposals of the training tasks; tuned, not certified. "
        "Oracle: the one threshold chosen on the test rows themselves, which nobody has beforehand.",
    )  # fmt: skip


def _baselines(name: str, figures: dict[str, Any]) -> Table:
    shown = ("whole_call", "whole_call_tolerant", "tool")
    rows = [
        [name, who, *(share(test[key], test["interval"].get(key)) for key in shown)]
        for who, test in {"student": figures["test"], **figures["baselines"]}.items()
    ]
    return Table("Against simple baselines, same divisions, %", ["data", "who", "strict", "tolerant", "tool"], rows)


def _cost(name: str, figures: dict[str, Any]) -> Table:
    ms, seen = figures["latency_cpu_ms"], figures["recurring"]
    n, fit = np.mean(figures["trained_on"]), np.mean(figures["fit_cpu_seconds"])
    cells = [number(n, 0), number(fit), number(ms["p50"]), number(ms["p99"]), number(ms["n"], 0)]
    return Table(
        "Cost of a fit and of a decision",
        ["data", "decisions", "fit, CPU s", "p50, CPU ms", "p99, CPU ms", "n", "contexts seen before, %"],
        [[name, *cells, share(seen["share"])]],
        "One decision at a time, whole conversations read anew, contexts seen before (answered from memory) included.",
    )
