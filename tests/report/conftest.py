"""A realistic result, generated: the shape that a run writes to `result.json`."""

from __future__ import annotations

import random
from typing import Any

import pytest

TOOLS = {
    "get_order_details": 212,
    "find_user_by_email": 118,
    "get_user_details": 96,
    "list_products": 41,
    "return_delivered_items": 33,
    "modify_pending_order_address": 24,
    "transfer_to_human_agent": 14,
    "cancel_pending_order": 11,
}
LEVELS = {"0.93": (0.52, 0.948, True), "0.95": (0.41, 0.966, True), "0.98": (0.17, 0.985, False)}


def sample_result(seed: int = 0) -> dict[str, Any]:
    """A whole result of a certified run on 3,200 invented decisions."""
    rng = random.Random(seed)
    coverage = [i / 40 for i in range(1, 41)]
    agreement = [round(0.994 - 0.22 * c**2.4 + rng.uniform(-0.004, 0.004), 4) for c in coverage]
    return {
        "data": {
            "id": "7d1f0c53e2a94b60",
            "decisions": 3243,
            "episodes": 386,
            "tasks": 114,
            "teacher": "example-teacher-large-2026-01",
            "kind": "synthetic",
            "calls_share": 0.83,
            "files": ["orders-2026-01.jsonl", "orders-2026-02.jsonl"],
        },
        "split": {"train": 1821, "calibration": 706, "test": 716, "by": "task"},
        "ceiling": {
            "tool": 0.961,
            "whole_call": 0.947,
            "pairs": 641,
            "contexts": 69,
            "tasks": 39,
            "interval": {"tool": [0.93, 0.984], "whole_call": [0.911, 0.976]},
            "per_tool": [{"tool": t, "same_tool": 0.97, "whole_call": 0.95, "pairs": n} for t, n in TOOLS.items()],
            "same_state": {"tool": 0.891, "whole_call": 0.862, "pairs": 1589, "contexts": 264, "tasks": 50},
            "flips": {"recurring": 702, "decisions": 68, "outvoted": 31},
        },
        "curation": {"original_count": 1821, "curated_count": 1192, "deduplication_rate": 0.345},
        "test": {
            "n": 716,
            "episodes": 79,
            "whole_call": 0.781,
            "whole_call_tolerant": 0.803,
            "tool": 0.842,
            "call_or_reply": 0.946,
            "whole_call_on_calls": 0.768,
            "interval": {"whole_call": [0.744, 0.816], "tool": [0.811, 0.872]},
            "ece": 0.021,
            "normalised": 0.825,
        },
        "baselines": {
            "majority": {"tool": 0.232, "whole_call": 0.11, "whole_call_tolerant": 0.11},
            "nearest_neighbour": {"tool": 0.661, "whole_call": 0.431, "whole_call_tolerant": 0.447},
            "tfidf_logistic_regression": {"tool": 0.748, "whole_call": 0.382, "whole_call_tolerant": 0.39},
        },
        "levels": {level: _level(*values) for level, values in LEVELS.items()},
        "per_tool": [_tool(rng, tool, n) for tool, n in TOOLS.items()] + [_tool(rng, "(reply)", 167)],
        "risk_coverage": {
            "coverage": coverage,
            "agreement": agreement,
            "lower": [a - 0.012 - 0.02 * (1 - c) for a, c in zip(agreement, coverage, strict=True)],
            "upper": [min(1.0, a + 0.01 + 0.012 * (1 - c)) for a, c in zip(agreement, coverage, strict=True)],
        },
        "calibration_bins": [
            {"confidence": c, "agreement": min(1.0, c + rng.uniform(-0.05, 0.05)), "n": int(20 + 300 * c**4)}
            for c in (0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
        ],
        "learning_curve": [
            {"tasks": t, "decisions": t * 28, "whole_call": y, "interval": [y - 0.045, y + 0.04]}
            for t, y in ((6, 0.58), (13, 0.664), (26, 0.715), (39, 0.752), (65, 0.781))
        ],
        "latency_ms": {"p50": 3.1, "p99": 11.4, "n": 716},
        "train_seconds": 9.7,
        "recurring": {"share": 0.12, "agreement": 0.941},
        "savings": {
            "requests_per_day": 20000,
            "teacher_cost_usd": 0.011,
            "calls_saved": 0.475,
            "audit_rate": 0.05,
            "yearly_usd": 20000 * 365 * 0.475 * 0.011,
            "basis": "list price of the teacher at 3,100 input and 90 output tokens a request",
        },
        "disagreements": [_difference(rng, i) for i in range(120)],
        "errors": [{"reason": "the arguments of get_order_details are not JSON", "lines": [17, 204]}],
        "next_steps": [
            "Serve it beside the teacher: distill serve --mode shadow",
            "Point your client at it: base_url='http://127.0.0.1:8080/v1'",
            "Bring about 40 more tasks to certify 98% as well; more tasks help, more repetitions of the same do not",
        ],
        "seed": 0,
        "command": "distill run orders-2026-01.jsonl orders-2026-02.jsonl --floor 0.93 --seed 0 --out report",
        "versions": {"ultracore-distillation": "0.1.0", "python": "3.11.7", "numpy": "2.3.0", "scikit-learn": "1.9.1"},
        "model_id": "compact-4be1c07a",
        "certificate": {
            "certified": True,
            "level": "whole_call",
            "target": 0.93,
            "delta": 0.05,
            "method": "betting",
            "units": 24,
            "thresholds": {"get_order_details": 0.81, "find_user_by_email": 0.74},
            "pooled": True,
        },
    }


def _level(coverage: float, agreement: float, certified: bool) -> dict[str, Any]:
    return {
        "coverage": coverage,
        "agreement": agreement,
        "n": 716,
        "calls_saved": (coverage - 0.02) * 0.95 if certified else 0.0,
        "certified": certified,
        "certified_coverage": coverage - 0.02 if certified else None,
        "certified_agreement": agreement + 0.004 if certified else None,
        "more_units": None if certified else 41,
        "reason": "" if certified else "too few calibration tasks",
        "by_action": {
            tool: {"coverage": coverage * n / 716, "agreement": agreement, "n": n} for tool, n in TOOLS.items()
        },
    }


def _tool(rng: random.Random, tool: str, n: int) -> dict[str, Any]:
    agreement = min(0.99, 0.55 + 0.2 * (n > 90) + rng.uniform(0, 0.22))
    sent = int(n * 0.6) if tool != "(reply)" else 0
    best = min(1.0, agreement + 0.06)
    share = {"whole_call": agreement, "tool_agreement": best, "sent_agreement": 0.95 if sent else None}
    return {"tool": tool, "n": n, "sent": sent, **share}


def _difference(rng: random.Random, index: int) -> dict[str, Any]:
    tool, other = rng.choice(list(TOOLS)), rng.choice(list(TOOLS))
    order = f"#W{rng.randrange(10**7):07d}"
    reason = rng.choice(["address moved", "wrong size"])
    teacher = [{"name": tool, "arguments": {"order_id": order, "item_ids": ["4107812", "9013366"], "reason": reason}}]
    wrong = [{"name": tool, "arguments": {"order_id": order, "item_ids": ["4107812"], "reason": "wrong size"}}]
    student = rng.choice([wrong, [{"name": other, "arguments": {"order_id": order}}], []])
    sent = bool(student) and rng.random() < 0.12
    return {
        "task": f"task-{index % 29}",
        "step": index % 9,
        "confidence": round(rng.uniform(0.82, 0.97) if sent else rng.uniform(0.2, 0.86), 3),
        "sent": sent,
        "teacher": teacher if rng.random() < 0.85 else [],
        "student": student,
        "context": [
            {"role": "user", "text": f"Hi, I'd like to send back everything from order {order} except the tablet."},
            {"role": "assistant", "text": "I can help with that. Let me look the order up first."},
            {
                "role": "tool",
                "text": f'{{"order_id": "{order}", "status": "delivered", "items": ["4107812", "9013366"]}}',
            },
            {"role": "user", "text": "Yes, please go ahead. 退款到原来的卡上, danke!"},
        ],
        "reason": "sent" if sent else "low_confidence",
    }


@pytest.fixture
def result() -> dict[str, Any]:
    return sample_result()
