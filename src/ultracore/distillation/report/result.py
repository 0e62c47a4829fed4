"""The shape of a run's result (`result.json`): what was measured, as plain JSON.

Every share is a fraction from 0 to 1 and every key may be absent: what was not measured is left
out, never guessed. What this file does not know: how anything is measured or shown.
"""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "Baseline",
    "CalibrationBin",
    "Ceiling",
    "ContextMessage",
    "Curation",
    "Data",
    "Disagreement",
    "Flips",
    "ImportProblem",
    "Latency",
    "LearningPoint",
    "Level",
    "LevelAction",
    "PerTool",
    "Recurring",
    "Result",
    "RiskCoverage",
    "Savings",
    "SelfAgreement",
    "SelfAgreementOfTool",
    "Split",
    "Test",
]

Interval = list[float] | tuple[float, float]


class Data(TypedDict, total=False):
    """What was learned from.

    `kind` names where the decisions come from (`teacher`, `synthetic`, ...); `calls_share` is the
    share of the decisions in which the teacher called a tool; `others` counts what other teachers
    decided and was learned from, too.
    """

    id: str
    decisions: int
    episodes: int
    tasks: int
    teacher: str
    kind: str
    calls_share: float
    others: int
    files: list[str]


class Split(TypedDict, total=False):
    """Decisions in each part, and the unit (`task`, `episode`) that was never divided."""

    train: int
    calibration: int
    test: int
    by: str


class SelfAgreementOfTool(TypedDict, total=False):
    """The teacher's agreement with itself where it chose this tool at least once."""

    tool: str
    same_tool: float
    whole_call: float | None
    pairs: int
    arguments: dict[str, float]


class SelfAgreement(TypedDict, total=False):
    """The teacher's agreement with itself; `None` where no context recurs."""

    tool: float | None
    whole_call: float | None
    whole_call_tolerant: float | None
    pairs: int
    whole_call_pairs: int
    contexts: int
    tasks: int
    interval: dict[str, Interval]
    per_tool: list[SelfAgreementOfTool]


class Flips(TypedDict, total=False):
    """Decisions whose very state recurs; how many contradict another there, how many the majority there."""

    recurring: int
    decisions: int
    outvoted: int


class Ceiling(SelfAgreement, total=False):
    """Self-agreement in identical contexts; `same_state` is the lower bound in alike ones."""

    same_state: SelfAgreement
    flips: Flips


class Curation(TypedDict, total=False):
    """What the curator kept."""

    original_count: int
    curated_count: int
    deduplication_rate: float


class ByChance(TypedDict, total=False):
    """The calibration error that a perfectly calibrated student with the same confidences would show."""

    mean: float
    upper: float
    upper_by_unit: float | None


class Test(TypedDict, total=False):
    """The student's agreement with the teacher on decisions of unseen tasks.

    `normalised` is agreement divided by the teacher's own; `ece` is the expected calibration error.
    """

    n: int
    episodes: int
    whole_call: float | None
    whole_call_tolerant: float | None
    tool: float | None
    call_or_reply: float | None
    whole_call_on_calls: float | None
    interval: dict[str, Interval]
    ece: float | None
    ece_debiased: float | None
    ece_by_chance: ByChance | None
    normalised: float | None


class Baseline(TypedDict, total=False):
    """The same agreement of a simple method."""

    tool: float | None
    whole_call: float | None
    whole_call_tolerant: float | None


class LevelAction(TypedDict, total=False):
    """One action's part of a level."""

    coverage: float
    agreement: float | None
    n: int


class Level(TypedDict, total=False):
    """What the student does when it must reach a level of agreement.

    `coverage` counts the calls it sends over all decisions, `n` test decisions; `certified_*` are
    the figures under the certificate; `more_units` is about how many more units one would need.
    """

    coverage: float
    agreement: float | None
    n: int
    calls_saved: float
    certified: bool
    certified_coverage: float | None
    certified_agreement: float | None
    more_units: int | None
    reason: str
    by_action: dict[str, LevelAction]


class PerTool(TypedDict, total=False):
    """Agreement where the teacher chose this tool; `sent` counts calls that the gate lets out."""

    tool: str
    n: int
    whole_call: float | None
    tool_agreement: float | None
    sent: int
    sent_agreement: float | None


class RiskCoverage(TypedDict, total=False):
    """Agreement of the surest calls, by the share of decisions that they are."""

    coverage: list[float]
    agreement: list[float]
    lower: list[float]
    upper: list[float]


class CalibrationBin(TypedDict, total=False):
    """Decisions of about one confidence, and how many of them agree."""

    confidence: float
    agreement: float
    n: int


class LearningPoint(TypedDict, total=False):
    """Agreement after training on so many tasks."""

    tasks: int
    decisions: int
    whole_call: float
    interval: Interval | None


class Latency(TypedDict, total=False):
    """Milliseconds for one decision of the student."""

    p50: float
    p99: float
    n: int


class Recurring(TypedDict, total=False):
    """Decisions whose very context was in training; `new_agreement` is that of the `new_n` others alone."""

    share: float
    agreement: float | None
    n: int
    new_agreement: float | None
    new_n: int


class Savings(TypedDict, total=False):
    """A year at the user's prices, net of audits; `basis` says where the prices come from."""

    requests_per_day: float
    teacher_cost_usd: float
    calls_saved: float
    audit_rate: float
    yearly_usd: float
    basis: str


class ContextMessage(TypedDict, total=False):
    """An excerpt of a message."""

    role: str
    text: str


class Disagreement(TypedDict, total=False):
    """A test decision where student and teacher differ.

    `teacher` and `student` are text, or a list of `{"name", "arguments"}`; none is a text reply.
    """

    task: str
    step: int
    confidence: float
    sent: bool
    teacher: Any
    student: Any
    context: list[ContextMessage]
    reason: str


class ImportProblem(TypedDict, total=False):
    """Why lines of the input were not used, and which lines or how many."""

    reason: str
    lines: Any


class Result(TypedDict, total=False):
    """Everything that a run found."""

    data: Data
    split: Split
    ceiling: Ceiling
    curation: Curation
    test: Test
    baselines: dict[str, Baseline]
    levels: dict[str, Level]
    per_tool: list[PerTool]
    risk_coverage: RiskCoverage
    calibration_bins: list[CalibrationBin]
    learning_curve: list[LearningPoint]
    latency_ms: Latency
    train_seconds: float
    recurring: Recurring
    savings: Savings
    disagreements: list[Disagreement]
    errors: list[ImportProblem]
    next_steps: list[str]
    seed: int
    command: str
    versions: dict[str, str]
    model_id: str
    certificate: dict[str, Any]
