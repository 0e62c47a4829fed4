"""The whole loop on one screen: traces in; a student, its certificate, its figures and the facts out.

Each stage is one call. The deployment and what it rests on are one append to the decision log: an
interrupted run leaves a valid log, and the same run again works. What this file does not know: how
any stage works, and how a result is shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agreement import infer_free_text
from ultracore.distillation.curate import deduplicate_rows
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.log.of_files import Traces, read_traces
from ultracore.distillation.log.of_log import LogQuery, read_log
from ultracore.distillation.policy import NO_POLICY, Policy
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.baselines import evaluate_baselines
from ultracore.distillation.train.ceiling import measure_ceiling
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.dataset import dataset_of_run, unrecorded
from ultracore.distillation.train.environment import versions
from ultracore.distillation.train.evaluate import Judged, columns, judge, propose_saved, time_proposals
from ultracore.distillation.train.facts import (
    EXACT,
    SPLIT,
    SPLIT_WITH_TEST,
    Trained,
    curation_fact,
    deployment_figures,
    model_facts,
    validation_hash,
)
from ultracore.distillation.train.fit import FitResult, fit_compact, hyper_parameters
from ultracore.distillation.train.learning_curve import finish_curve, learning_curve, some_tasks
from ultracore.distillation.train.levels import at_level, level_of
from ultracore.distillation.train.outcome import (
    describe_data,
    describe_forced,
    describe_parts,
    describe_student,
    level_key,
)
from ultracore.distillation.train.parallel import background
from ultracore.distillation.train.parts import Parts, learn_from_others, of_one_teacher, split
from ultracore.distillation.train.savings import price_from_rows, savings

__all__ = ["LEVELS", "STAGES", "Options", "run"]

Say = Callable[[str], None]

LEVELS = (0.93, 0.95, 0.98)
"""Levels of agreement that are reported beside the target."""

STAGES = 7


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen about a run.

    Attributes:
        seed: Seed of everything random.
        target: Agreement among sent calls that the deployed certificate must guarantee (0..1).
        delta: Allowed probability that the certificate is wrong (0..1).
        audit_rate: Share of the sent calls that also go to the teacher (0..1).
        teacher: Whom the student stands in for; the most frequent teacher by default. Decisions of other teachers,
            about tasks that are not held back, are learned from too, as theirs.
        price_per_call: US dollars of one teacher request.
        requests_per_day: Teacher requests a day.
        machine_usd_per_hour: US dollars of an hour of the machine that will answer.
        policy: What the user says about their tools.
        tenant: Whose data it is, where the traces do not say.
        processes: 1, or 2 to use a second core; a script that asks for 2 must be importable
            (`if __name__ == "__main__":`).
    """

    seed: int = 0
    target: float = 0.93
    delta: float = 0.05
    audit_rate: float = 0.05
    teacher: str | None = None
    price_per_call: float | None = None
    requests_per_day: float | None = None
    machine_usd_per_hour: float = 0.0
    policy: Policy = NO_POLICY
    tenant: str = "default"
    processes: int = 1


DEFAULTS = Options()


def run(
    train: Sequence[Path] | LogQuery,
    home: Path,
    *,
    test: Sequence[Path] = (),
    options: Options = DEFAULTS,
    say: Say = lambda stage: None,
    clock: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Learn from traces, certify, and deploy what is certified.

    Args:
        train: JSONL files of OpenAI chat conversations, or which decisions of the log in `home`.
        home: Folder of the decision log and of the models.
        test: Files to test on; by default a fifth of the tasks is held back.
        options: See `Options`.
        say: Told what is being done, `STAGES` times.
        clock: Tells the time of the events.

    Returns:
        The result, shaped as `report.result.Result` says.

    Raises:
        ConfigurationError: An option is out of range.
        DataError: The traces hold too little to learn, certify and test on.
        LogError: The log cannot be written.
    """
    o, store = _checked(options), open_store(home)
    registry = ModelRegistry(home, store)
    stamp: dict[str, Any] = {"tenant_id": o.tenant, "correlation_id": uuid.uuid4().hex, "clock": clock}

    say("reading the traces into the log")
    given = _read(train, test, store, o)
    parts = given.parts

    say(f"measuring how often the teacher agrees with itself in {len(given.decisions):,} decisions")
    comparators = o.policy.comparators(infer_free_text(given.decisions))
    ceiling = measure_ceiling(given.decisions, comparators, o.seed).to_dict()

    say("merging exact duplicates")
    curated, curation = deduplicate_rows(parts.train)
    dataset = dataset_of_run(given.source, parts, curated)
    curated_fact = curation_fact(dataset, curation, o.seed, given.parameters, **stamp)
    store.append([*unrecorded(dataset, store, **stamp), curated_fact])

    say(f"training on {len(curated):,} decisions")
    learned, few = at_level(curated, given.level), some_tasks(parts.test)
    with background(learning_curve, learned, few, o.seed, parallel=o.processes > 1) as smaller:
        fit = fit_compact(learned, teacher=given.teacher, seed=o.seed)
        model_id = registry.publish(fit.student)

        say(f"certifying on {len(parts.calibration):,}, testing on {len(parts.test):,} decisions of unseen tasks")
        exam = _examine(fit, registry.folder_of(model_id), given, o)
        baselines = evaluate_baselines(curated, parts.test, o.seed, o.policy.comparators(fit.comparators))

        say("measuring the latency and the learning curve")
        milliseconds = time_proposals(registry.load(model_id), parts.test)
        found = describe_student(
            exam.development, exam.test, exam.certificates, milliseconds,
            target=o.target, audit_rate=o.audit_rate, teacher_whole_call=ceiling["whole_call"], seed=o.seed,
        )  # fmt: skip
        curve = finish_curve(smaller, learned, exam.test, few, fit.seconds, o.seed)

    say("writing down the model and the verdict")
    certificate = exam.certificates[o.target]
    registry.save_certificate(certificate)
    trained = Trained.of(
        model_id, registry.folder_of(model_id), dataset.dataset_id, curated, fit.seconds, o.seed,
        {"target": o.target, "delta": o.delta, "policy": msgspec.to_builtins(o.policy), **hyper_parameters()},
        exam.validation_hash,
    )  # fmt: skip
    figures = deployment_figures(trained, certificate, found["latency_ms"]["p50"], o.machine_usd_per_hour)
    stamp |= {"causation_id": curated_fact.metadata.event_id, "replaces": registry.active_id(o.tenant)}
    store.append(model_facts(trained, certificate, figures, found["test"], parts.calibration, **stamp))
    return {
        **given.describe(describe_forced(fit.triggers.phrases, len(learned) - len(fit.development))),
        **describe_parts(parts, curation),
        "ceiling": ceiling,
        **found,
        "baselines": baselines,
        **curve,
        "savings": _savings(found, given, o),
        "train_seconds": fit.seconds,
        "seed": o.seed,
        "versions": versions(),
    }


def _checked(o: Options) -> Options:
    """Say it before the work is done, not after."""
    for name in ("target", "delta"):
        if not 0.0 < getattr(o, name) < 1.0:
            raise ConfigurationError(f"{name} must lie strictly between 0 and 1, not {getattr(o, name)}")
    if o.machine_usd_per_hour < 0.0:
        raise ConfigurationError(f"machine_usd_per_hour cannot be negative, as {o.machine_usd_per_hour} is")
    return o


class _Given(NamedTuple):
    """What was read, split by task; `parameters` says how, for a replay.

    `decisions` are the teacher's, `source` has what others decided about the tasks to learn from, too.
    """

    traces: Traces
    teacher: str
    decisions: list[Decision]
    source: list[Decision]
    parts: Parts
    level: Level
    problems: list[dict[str, Any]]
    parameters: dict[str, Any]

    def describe(self, more: list[dict[str, Any]]) -> dict[str, Any]:
        traces = self.traces
        data = describe_data(self.decisions, data_id=traces.data_id, teacher=self.teacher, kind=traces.kind)
        others = sum(decision.teacher not in ("", self.teacher) for decision in self.source)
        return {"data": {**data, "others": others}, "errors": [*self.problems, *more]}


def _read(train: Sequence[Path] | LogQuery, test: Sequence[Path], store: EventStore, o: Options) -> _Given:
    traces = _source(train, store, o)
    teacher, decisions, others, _ = of_one_teacher(traces.decisions, o.teacher)
    problems, held = traces.problems, None
    if test:
        separate = read_traces(test, store, o.tenant)
        _, held, _, more = of_one_teacher(separate.decisions, teacher or None)
        problems = [*problems, *separate.problems, *more]
    parts = learn_from_others(split(decisions, held, o.seed), others)
    used = {d.event_id for part in (parts.train, parts.calibration, parts.test) for d in part}
    source = [d for d in traces.decisions if d.event_id in used]
    parameters = {"method": EXACT, "split": SPLIT_WITH_TEST if test else SPLIT, "teacher": teacher}
    level = level_of(decisions)
    return _Given(traces, teacher, decisions, source, parts, level, [*problems, *parts.problems], parameters)


def _source(train: Sequence[Path] | LogQuery, store: EventStore, o: Options) -> Traces:
    return read_log(store, train, o.tenant) if isinstance(train, LogQuery) else read_traces(train, store, o.tenant)


class _Exam(NamedTuple):
    """Proposals beside the teacher's decisions, and the certificates that follow from them."""

    development: list[Judged]
    test: list[Judged]
    certificates: dict[float, Certificate]
    validation_hash: str


def _examine(fit: FitResult, folder: Path, given: _Given, o: Options) -> _Exam:
    """Certify here, test beside it; both ask the student as it lies on disk, as it will be served."""
    calibration, test = given.parts.calibration, given.parts.test
    states = [at_level(part, given.level) for part in (calibration, test)]
    comparators = o.policy.comparators(fit.comparators)
    with background(propose_saved, folder, states[1], parallel=o.processes > 1) as answers:
        development = judge(*columns(fit.development_for(given.teacher)), comparators)
        calibrated = judge(calibration, propose_saved(folder, states[0]), comparators)
        certificates = certify_levels(
            development, calibrated, [*LEVELS, o.target],
            level=given.level, delta=o.delta, model_id=folder.name, teacher=given.teacher,
            offered=given.decisions, policy=o.policy, seed=o.seed,
        )  # fmt: skip
        named = validation_hash(calibrated, certificates[o.target])
        return _Exam(development, judge(test, answers.result(), comparators), certificates, named)


def _savings(found: dict[str, Any], given: _Given, o: Options) -> dict[str, Any]:
    level, measured = found["levels"][level_key(o.target)], price_from_rows(given.traces.rows)
    return savings(level, o.audit_rate, o.price_per_call, measured, o.requests_per_day)
