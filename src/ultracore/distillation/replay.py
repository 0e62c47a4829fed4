"""From the log alone: rebuild a data set, the model, its certificate and the verdict, and compare.

No trace file is read, the log is not written, and nothing is put into the home folder. In the environment
in which a model was trained its bytes must come out the same; in another one identical decisions on the
calibration tasks are what can be asked for, and the result says which of the two was shown. What this
file does not know: how a result is printed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

from ultracore.distillation.curate import deduplicate_rows
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import (
    AgentDecisionEvent,
    CertificateDecidedEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelStagedEvent,
    ModelTrainedEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.log.history import row_of
from ultracore.distillation.log.labels import audits_of, label_of
from ultracore.distillation.policy import Policy
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.dataset import (
    CALIBRATION,
    TEST,
    TRAIN,
    Dataset,
    Entry,
    dataset_of_run,
    read_entries,
)
from ultracore.distillation.train.environment import differences, environment
from ultracore.distillation.train.evaluate import columns, judge, propose_saved
from ultracore.distillation.train.facts import (
    EXACT,
    SPLIT_WITH_TEST,
    file_hashes,
    is_deployable,
    validation_hash,
)
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.levels import at_level, level_of
from ultracore.distillation.train.parts import learn_from_others, of_one_teacher, split

__all__ = ["Check", "Replay", "replay", "trainings"]

Verdict = Literal["same", "identical decisions", "absent", "different", "not possible"]
MAY_ANSWER = (ModelDeployedEvent, ModelStagedEvent)
VERDICTS = (*MAY_ANSWER, ModelRejectedEvent)
E = TypeVar("E", bound=Event)


class Check(NamedTuple):
    """One thing that was rebuilt.

    Attributes:
        what: Its name.
        rebuilt: What came out.
        expected: What the log says.
        verdict: How they compare.
        note: Why, in words.
    """

    what: str
    rebuilt: str
    expected: str
    verdict: Verdict
    note: str = ""


class Replay(NamedTuple):
    """What came of one model.

    Attributes:
        model_id: Its id in the log.
        checks: In the order of the stages; a stage that fails ends them.
        environment: How this environment differs from that of the training; empty where it does not.
    """

    model_id: str
    checks: list[Check]
    environment: list[str]

    @property
    def reproduced(self) -> bool:
        """Whether every check shows the same bytes or, elsewhere, identical decisions."""
        return all(check.verdict not in ("different", "not possible") for check in self.checks)


def trainings(store: EventStore, model_id: str | None = None) -> list[ModelTrainedEvent]:
    """The trainings that the log knows, oldest first, each model by its last.

    Raises:
        DataError: There is none, or none of this model.
    """
    found = {
        e.model_id: e for e in store.read(types=[ModelTrainedEvent.event_type]) if isinstance(e, ModelTrainedEvent)
    }
    if model_id is not None and model_id not in found:
        raise DataError(f"the log knows no training of model {model_id}; `distill log models` lists those it knows")
    if not found:
        raise DataError("the log knows no training; learn a model first: distill run FILE")
    return [event for name, event in found.items() if model_id in (None, name)]


def replay(store: EventStore, home: Path, trained: ModelTrainedEvent) -> Replay:
    """Rebuild what a training was made of and what it led to.

    Args:
        store: The log.
        home: The home folder; the files of the model there are compared, too.
        trained: From `trainings`.

    Raises:
        LogError: The log cannot be read.
    """
    unlike = differences(trained.environment, environment())
    checks: list[Check] = []
    try:
        for check in _stages(store, home, trained, bool(unlike)):
            checks.append(check)  # noqa: PERF402 - what was checked before a stop counts
    except _Stop as stop:
        checks.append(stop.check)
    return Replay(trained.model_id, checks, unlike)


class _Stop(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.check = check


class _Recorded(NamedTuple):
    """What the log says of a training: how its data were curated, and what followed."""

    trained: ModelTrainedEvent
    curated: TrainingDataCuratedEvent | None
    evaluated: ModelEvaluatedEvent
    decided: CertificateDecidedEvent
    verdict: Event


class _Rebuilt(NamedTuple):
    """A data set as the stages use it; `offered` is all of the teacher's traffic that a certificate speaks about."""

    dataset: Dataset
    offered: list[Decision]
    training: list[Decision]
    calibration: list[Decision]
    note: str = ""


def _stages(store: EventStore, home: Path, trained: ModelTrainedEvent, elsewhere: bool) -> Iterator[Check]:
    recorded = _recorded(store, trained)
    entries = read_entries(store, trained.dataset_id)
    rebuilt = _rebuild(entries, store, recorded, elsewhere)
    yield _data_check(rebuilt, entries, recorded)
    yield _files_check(home, trained)
    with tempfile.TemporaryDirectory(prefix="distill-replay-") as folder:
        yield from _model_checks(Path(folder) / "model", rebuilt, recorded, elsewhere)


def _recorded(store: EventStore, trained: ModelTrainedEvent) -> _Recorded:
    about_data = store.read(
        types=[TrainingDataCuratedEvent.event_type], aggregate=trained.dataset_id, until=trained.metadata.position
    )
    curated = [event for event in about_data if isinstance(event, TrainingDataCuratedEvent)]
    types = [cls.event_type for cls in (ModelEvaluatedEvent, CertificateDecidedEvent, *VERDICTS)]
    later = list(store.read(types=types, aggregate=trained.model_id, after=trained.metadata.position or 0))
    evaluated = _caused(later, trained, ModelEvaluatedEvent)
    decided = _caused(later, trained, CertificateDecidedEvent)
    return _Recorded(trained, curated[-1] if curated else None, evaluated, decided, _caused(later, decided, *VERDICTS))


def _caused(events: Sequence[Event], cause: Event, *types: type[E]) -> E:
    for event in events:
        if event.metadata.causation_id == cause.metadata.event_id and isinstance(event, types):
            return event
    names = " or ".join(cls.event_type for cls in types)
    raise _Stop(Check("log", "", "", "not possible", f"no {names} follows {cause.event_type}"))


def _rebuild(entries: Sequence[Entry], store: EventStore, recorded: _Recorded, elsewhere: bool) -> _Rebuilt:
    """Split and curate again; where a later release does that otherwise, the manifest still says what was used."""
    decisions, curated = _read_decisions(entries, store, recorded.trained), recorded.curated
    if curated is None or curated.parameters.get("method") != EXACT:
        return _as_listed(entries, decisions, _named(curated), "as its manifest lists it; not curated again")
    again = _curate_again(entries, decisions, curated)
    if elsewhere and again.dataset.entries != entries:
        why = "as its manifest lists it; this release splits or curates otherwise"
        return _as_listed(entries, decisions, _named(curated), why)
    return again


def _curate_again(
    entries: Sequence[Entry], decisions: Sequence[Decision], curated: TrainingDataCuratedEvent
) -> _Rebuilt:
    separate = curated.parameters.get("split") == SPLIT_WITH_TEST
    source = [d for entry, d in zip(entries, decisions, strict=True) if not (separate and entry.part == TEST)]
    test = [d for entry, d in zip(entries, decisions, strict=True) if entry.part == TEST] if separate else None
    try:
        mine = of_one_teacher(source, _named(curated))
        parts = learn_from_others(split(mine.decisions, test, curated.seed or 0), mine.others)
    except DataError as error:
        raise _Stop(Check("data set", "", curated.dataset_id, "different", str(error))) from None
    training, _ = deduplicate_rows(parts.train)
    return _Rebuilt(dataset_of_run(source, parts, training), mine.decisions, training, parts.calibration)


def _as_listed(entries: Sequence[Entry], decisions: Sequence[Decision], teacher: str | None, note: str) -> _Rebuilt:
    rows = [
        (entry.part, msgspec.structs.replace(decision, weight=entry.weight))
        for entry, decision in zip(entries, decisions, strict=True)
    ]
    training = [decision for part, decision in rows if part == TRAIN and decision.weight > 0]
    calibration = [decision for part, decision in rows if part == CALIBRATION]
    offered = of_one_teacher([decision for _, decision in rows], teacher).decisions
    return _Rebuilt(Dataset.of(rows), offered, training, calibration, note)


def _read_decisions(entries: Sequence[Entry], store: EventStore, trained: ModelTrainedEvent) -> list[Decision]:
    """The decisions of the manifest in its order, read from the log."""

    def impossible(why: str, verdict: Verdict = "not possible") -> _Stop:
        return _Stop(Check("data set", "", trained.dataset_id, verdict, why))

    if not entries:
        raise impossible("the log does not list its decisions; an earlier release trained it")
    wanted = {entry.event_id for entry in entries}
    if "" in wanted:
        raise impossible("it has rows that did not come from a log")
    found: dict[str, Event] = {}
    for event in store.read(types=[AgentDecisionEvent.event_type], until=trained.metadata.position):
        if event.metadata.event_id in wanted:
            found[event.metadata.event_id] = event
    if missing := [entry.event_id for entry in entries if entry.event_id not in found]:
        raise impossible(f"{len(missing):,} source decision(s) are not in the log, first {missing[0]}", "different")
    if erased := sum(event.metadata.erased for event in found.values()):
        raise impossible(f"{erased:,} source decision(s) were erased since: train again without them")
    rows = [row_of(found[entry.event_id]) for entry in entries]
    labels = audits_of(store, until=trained.metadata.position)
    answered = {row["event_id"] for row in rows if row["source"] == "student"}
    if unknown := answered - labels.keys():
        raise impossible(f"the teacher's word on {len(unknown):,} answer(s) of a student is not there, or was erased")
    # of what a student answered, the teacher's word was learned
    return [
        Decision.from_row(label_of(row, labels[row["event_id"]]) if row["event_id"] in answered else row)
        for row in rows
    ]


def _data_check(rebuilt: _Rebuilt, entries: list[Entry], recorded: _Recorded) -> Check:
    curated, found = recorded.curated, rebuilt.dataset
    expected = curated.content_hash if curated else recorded.trained.dataset_id
    now = found.content_hash if curated else found.dataset_id
    if now != expected or found.entries != entries:
        why = "its decisions, its split or its weights are not those of the training"
        raise _Stop(Check("data set", now[:16], expected[:16], "different", why))
    return Check("data set", now[:16], expected[:16], "same", rebuilt.note)


def _files_check(home: Path, trained: ModelTrainedEvent) -> Check:
    folder = home / "models" / trained.model_id
    if not folder.is_dir():
        return Check("files at hand", "none", _short(trained.files), "absent", f"{folder} is not there")
    found = file_hashes(folder)
    altered = sorted(name for name in {*found, *trained.files} if found.get(name) != trained.files.get(name))
    note = f"altered, missing or added: {', '.join(altered)}; restore them" if altered else ""
    return Check("files at hand", _short(found), _short(trained.files), "different" if altered else "same", note)


def _model_checks(folder: Path, rebuilt: _Rebuilt, recorded: _Recorded, elsewhere: bool) -> Iterator[Check]:
    """Model, decisions, certificate and verdict; all of them are known before the first is given."""
    trained, expected = recorded.trained, recorded.decided.certificate
    level = level_of(rebuilt.offered)
    teacher = _teacher(rebuilt, recorded)
    fit = fit_compact(at_level(rebuilt.training, level), teacher=teacher, seed=trained.seed)
    model_id = fit.student.save(folder)
    proposals = propose_saved(folder, at_level(rebuilt.calibration, level))
    policy = msgspec.convert(trained.hyper_parameters.get("policy", {}), Policy)
    comparators = policy.comparators(fit.comparators)
    calibrated = judge(rebuilt.calibration, proposals, comparators)
    target = trained.hyper_parameters["target"]
    certificate = certify_levels(
        judge(*columns(fit.development_for(teacher)), comparators), calibrated, [target],
        level=level, delta=trained.hyper_parameters["delta"], model_id=model_id, teacher=teacher,
        offered=rebuilt.offered, policy=policy, seed=trained.seed,
    )[target]  # fmt: skip
    decisions = validation_hash(calibrated, certificate)
    alike = decisions == recorded.evaluated.validation_hash

    def check(what: str, rebuilt: str, expected: str) -> Check:
        if rebuilt == expected:
            return Check(what, rebuilt, expected, "same")
        return Check(what, rebuilt, expected, "identical decisions" if elsewhere and alike else "different")

    yield check("model", model_id, trained.model_id)
    yield check("decisions", decisions, recorded.evaluated.validation_hash)
    known = msgspec.convert(expected, Certificate)
    if known.prompt_shapes is None:  # written before certificates knew shapes
        certificate = msgspec.structs.replace(certificate, prompt_shapes=None)
    yield check("certificate", certificate.fingerprint, known.fingerprint)
    right = is_deployable(certificate) == isinstance(recorded.verdict, MAY_ANSWER)
    said = recorded.verdict.event_type
    yield Check("verdict", said if right else f"not {said}", said, "same" if right else "different")


def _named(curated: TrainingDataCuratedEvent | None) -> str | None:
    """Whom the student was to stand in for, where the log says so."""
    return (curated.parameters.get("teacher") or None) if curated else None


def _teacher(rebuilt: _Rebuilt, recorded: _Recorded) -> str:
    return _named(recorded.curated) or next((d.teacher for d in rebuilt.offered if d.teacher), "")


def _short(files: dict[str, str]) -> str:
    return fingerprint(files)
