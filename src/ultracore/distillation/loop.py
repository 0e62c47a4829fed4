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
from typing import Any

import msgspec

from ultracore.distillation.agreement import infer_free_text
from ultracore.distillation.curate import deduplicate_rows
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.sqlite import open_store
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.baselines import evaluate_baselines
from ultracore.distillation.train.ceiling import measure_ceiling
from ultracore.distillation.train.certificates import certify_levels, data_id_of
from ultracore.distillation.train.evaluate import columns, judge, propose, propose_saved, time_proposals
from ultracore.distillation.train.facts import Trained, curation_fact, model_facts
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.learning_curve import finish_curve, learning_curve, some_tasks
from ultracore.distillation.train.outcome import describe_data, describe_parts, describe_student, level_key, versions
from ultracore.distillation.train.parallel import background
from ultracore.distillation.train.parts import of_one_teacher, split
from ultracore.distillation.train.savings import price_from_rows, savings

__all__ = ["LEVELS", "STAGES", "Options", "run"]

Say = Callable[[str], None]

LEVELS = (0.93, 0.95, 0.98)
"""Levels of agreement that are reported beside the target."""

STAGES = 6


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen about a run.

    Attributes:
        seed: Seed of everything random.
        target: Agreement among sent calls that the deployed certificate must guarantee (0..1).
        delta: Allowed probability that the certificate is wrong (0..1).
        audit_rate: Share of the sent calls that also go to the teacher (0..1).
        teacher: Whose decisions to learn; the most frequent teacher's by default.
        price_per_call: US dollars of one teacher request.
        requests_per_day: Teacher requests a day.
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
    tenant: str = "default"
    processes: int = 1


DEFAULTS = Options()


def run(
    train: Sequence[Path],
    home: Path,
    *,
    test: Sequence[Path] = (),
    options: Options = DEFAULTS,
    say: Say = lambda stage: None,
    clock: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Learn from traces, certify, and deploy what is certified.

    Args:
        train: JSONL files of OpenAI chat conversations.
        home: Folder of the decision log and of the models.
        test: Files to test on; by default a quarter of the tasks is held back.
        options: See `Options`.
        say: Told what is being done, `STAGES` times.
        clock: Tells the time of the events.

    Returns:
        The result, shaped as `report.result.Result` says.

    Raises:
        DataError: The traces hold too little to learn, certify and test on.
        LogError: The log cannot be written.
    """
    o, store, parallel = options, open_store(home), options.processes > 1
    levels = [*LEVELS, o.target]
    registry = ModelRegistry(home, store)
    stamp: dict[str, Any] = {"tenant_id": o.tenant, "correlation_id": uuid.uuid4().hex, "clock": clock}

    say("reading the traces into the log")
    traces = read_traces(train, store, o.tenant)
    held = read_traces(test, store, o.tenant) if test else None
    teacher, decisions, others = of_one_teacher(traces.decisions, o.teacher)
    parts = split(decisions, held and of_one_teacher(held.decisions, teacher).decisions, o.seed)

    say(f"measuring how often the teacher agrees with itself in {len(decisions):,} decisions")
    ceiling = measure_ceiling(decisions, infer_free_text(decisions), o.seed).to_dict()

    say("merging exact duplicates")
    curated, curation = deduplicate_rows(parts.train)
    dataset = data_id_of(curated)
    store.append([curation_fact(dataset, curation, **stamp)])

    say(f"training on {len(curated):,} decisions")
    overlook, few = infer_free_text(curated), some_tasks(parts.test)
    with background(learning_curve, curated, few, overlook, o.seed, parallel=parallel) as smaller:
        fit = fit_compact(curated, seed=o.seed)
        model_id = registry.publish(fit.student)
        student = registry.load(model_id)

        say(f"certifying on {len(parts.calibration):,}, testing on {len(parts.test):,} decisions of unseen tasks")
        with background(propose_saved, registry.folder_of(model_id), parts.test, parallel=parallel) as answers:
            development = judge(*columns(fit.development), overlook)
            calibration = judge(*propose(student, parts.calibration), overlook)
            certificates = certify_levels(
                development, calibration, levels, delta=o.delta, model_id=model_id, teacher=teacher, seed=o.seed
            )
            baselines = evaluate_baselines(curated, parts.test, o.seed, overlook)
            tested = judge(parts.test, answers.result(), overlook)

        say("measuring the latency and the learning curve")
        found = describe_student(
            development, tested, certificates, time_proposals(student, parts.test),
            target=o.target, audit_rate=o.audit_rate, teacher_whole_call=ceiling["whole_call"], seed=o.seed,
        )  # fmt: skip
        curve = finish_curve(smaller, curated, tested, few, fit.seconds, o.seed)

    say("writing down the model and the verdict")
    certificate = certificates[o.target]
    registry.save_certificate(certificate)
    trained = Trained.of(model_id, registry.folder_of(model_id), dataset, curated, fit.seconds, o.seed, versions())
    store.append(model_facts(trained, certificate, found, **stamp))
    return {
        "data": describe_data(decisions, data_id=traces.data_id, teacher=teacher, kind=traces.kind),
        **describe_parts(parts, curation),
        "ceiling": ceiling,
        **found,
        "baselines": baselines,
        **curve,
        "savings": savings(
            found["levels"][level_key(o.target)],
            o.audit_rate,
            o.price_per_call,
            price_from_rows(traces.rows),
            o.requests_per_day,
        ),
        "train_seconds": fit.seconds,
        "errors": traces.problems + (held.problems if held else []) + others + parts.problems,
        "seed": o.seed,
        "versions": versions(),
    }
