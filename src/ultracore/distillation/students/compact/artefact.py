"""The compact student to and from an artefact.

What this file does not know: hashes and files (`students.artefact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.students.artefact import read_artefact, write_artefact
from ultracore.distillation.students.compact.actions import (
    ACTION_FEATURES,
    ACTION_FEATURES_BEFORE_BAYES,
    ACTION_FEATURES_BEFORE_FOREST,
    ACTION_FEATURES_BEFORE_RELATIVES,
    ActionEvidence,
    Ngrams,
)
from ultracore.distillation.students.compact.drafts import DRAFT_FEATURES
from ultracore.distillation.students.compact.familiarity import Familiarity
from ultracore.distillation.students.compact.forest import Forest
from ultracore.distillation.students.compact.gazetteer import Gazetteer
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.students.compact.mentions import Mentions
from ultracore.distillation.students.compact.parallel import WHOLE_FEATURES
from ultracore.distillation.students.compact.paraphrases import Paraphrases
from ultracore.distillation.students.compact.prompts import Prompts
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.sources import Learned
from ultracore.distillation.students.compact.sparse import Linear, SparseEncoder
from ultracore.distillation.students.compact.student import CompactStudent, Rankers
from ultracore.distillation.students.compact.tables import (
    ARGUMENT_FEATURES,
    ARGUMENT_FEATURES_BEFORE_MENTIONS,
    ARGUMENT_FEATURES_BEFORE_PARAPHRASES,
    ARGUMENT_FEATURES_BEFORE_TOPICS,
)
from ultracore.distillation.students.compact.tagger import Tagger
from ultracore.distillation.students.compact.triggers import NO_TRIGGERS, Triggers

__all__ = ["load_student", "save_student"]

KIND = "compact"
_LINEAR = ("structure", "words", "intents")
_MEANING, _TAGGER, _MENTIONS = "meaning:", "tagger:", "mentions"
_FOREST, _BAYES = "forest", "bayes"
_WIDTHS = {
    "actions": ACTION_FEATURES,
    "arguments": ARGUMENT_FEATURES,
    "calls": DRAFT_FEATURES,
    "gate": WHOLE_FEATURES,
}
_EARLIER = {
    ("actions", ACTION_FEATURES_BEFORE_FOREST),
    ("actions", ACTION_FEATURES_BEFORE_RELATIVES),
    ("actions", ACTION_FEATURES_BEFORE_BAYES),
    ("arguments", ARGUMENT_FEATURES_BEFORE_MENTIONS),
    ("arguments", ARGUMENT_FEATURES_BEFORE_TOPICS),
    ("arguments", ARGUMENT_FEATURES_BEFORE_PARAPHRASES),
}
"""Widths of earlier releases' rankers, which leave later columns out."""


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    encoder: SparseEncoder
    classes: dict[str, list[str]]
    ngrams: Ngrams
    knowledge: Knowledge
    memory: ContextMemory
    tagger: dict[str, Any] | None = None
    mentions: list[str] | None = None
    paraphrases: Paraphrases | None = None
    gazetteer: Gazetteer = Gazetteer()
    prompts: Prompts = Prompts()
    familiarity: Familiarity = Familiarity()
    triggers: Triggers = NO_TRIGGERS
    teacher: str = ""
    trust: float = 0.0


def save_student(student: CompactStudent, folder: Path) -> str:
    """Write a student; returns its model id.

    Raises:
        ArtefactError: The folder cannot be written.
    """
    evidence = student.evidence
    learned = evidence.learned
    linear = {name: getattr(evidence, name) for name in _LINEAR}
    linear |= {_MEANING + slot: model for slot, model in learned.meanings.items()}
    if learned.mentions is not None:
        linear[_MENTIONS] = learned.mentions.model
    if evidence.bayes is not None:
        linear[_BAYES] = evidence.bayes
    forests = {_FOREST: evidence.forest} if evidence.forest is not None else {}
    config = _Config(
        encoder=evidence.encoder.encoder,
        classes={name: model.classes for name, model in [*linear.items(), *forests.items()]},
        ngrams=evidence.ngrams,
        knowledge=learned.knowledge,
        memory=student.memory,
        prompts=evidence.prompts,
        familiarity=student.familiarity,
        triggers=student.triggers,
        teacher=student.teacher,
        trust=student.rankers.trust,
        tagger=dict(learned.tagger.config) if learned.tagger is not None else None,
        mentions=learned.mentions.features if learned.mentions is not None else None,
        paraphrases=learned.paraphrases,
        gazetteer=learned.gazetteer,
    )
    arrays: dict[str, NDArray[Any]] = {}
    for name, model in linear.items():
        arrays |= {f"{name}.weights": model.weights, f"{name}.bias": model.bias}
    for name, forest in forests.items():
        arrays |= {f"{name}.{part}": array for part, array in forest.arrays.items()}
    if learned.tagger is not None:
        arrays |= {_TAGGER + name: array for name, array in learned.tagger.arrays.items()}
    for name in _WIDTHS:
        ranker = getattr(student.rankers, name)
        if ranker is not None:
            arrays |= {f"{name}.{part}": array for part, array in ranker.arrays.items()}
    return write_artefact(folder, KIND, msgspec.to_builtins(config), arrays)


def load_student(folder: Path) -> CompactStudent:
    """Read and verify a student.

    Raises:
        ArtefactError: The folder is not a whole, unaltered compact student of this release.
    """
    model_id, raw, arrays = read_artefact(folder, KIND)
    try:
        config = msgspec.convert(raw, _Config)
        linear = {name: _linear(name, config.classes[name], arrays) for name in config.classes if name != _FOREST}
        voters = config.classes.get(_FOREST)
        forest = Forest(voters, _parts(_FOREST, arrays)) if voters is not None else None
        learned = Learned(
            config.knowledge,
            {name.removeprefix(_MEANING): model for name, model in linear.items() if name.startswith(_MEANING)},
            _tagger(config.tagger, arrays),
            Mentions(config.mentions, linear[_MENTIONS]) if config.mentions is not None else None,
            config.paraphrases,
            config.gazetteer,
        )
        models = {name: linear[name] for name in _LINEAR}
        rankers = {name: _ranker(name, width, arrays) for name, width in _WIDTHS.items() if name != "gate"}
        gate = _gate(arrays)
    except (KeyError, msgspec.ValidationError) as error:
        raise ArtefactError(f"{folder} is not a compact student of this release: {error}") from None
    if rankers["actions"] is None or rankers["calls"] is None:
        raise ArtefactError(f"{folder} lacks a ranker; train again")
    return CompactStudent(
        ActionEvidence(
            config.encoder.compile(),
            **models,
            ngrams=config.ngrams,
            learned=learned,
            prompts=config.prompts,
            forest=forest,
            bayes=linear.get(_BAYES),
        ),
        Rankers(rankers["actions"], rankers["arguments"], rankers["calls"], gate, config.trust),
        config.memory,
        model_id,
        config.familiarity,
        config.triggers,
        config.teacher,
    )


def _linear(name: str, classes: list[str], arrays: Mapping[str, NDArray[Any]]) -> Linear:
    weights, bias = arrays[f"{name}.weights"], arrays[f"{name}.bias"]
    if weights.ndim != 2 or weights.shape[1] != len(classes) or bias.shape != (len(classes),):
        raise KeyError(f"{name}: weights of shape {weights.shape} for {len(classes)} classes")
    return Linear(classes, weights.astype(np.float32), bias.astype(np.float32))


def _tagger(config: dict[str, Any] | None, arrays: Mapping[str, NDArray[Any]]) -> Tagger | None:
    if config is None:
        return None
    return Tagger(config, {n.removeprefix(_TAGGER): array for n, array in arrays.items() if n.startswith(_TAGGER)})


def _ranker(name: str, width: int, arrays: Mapping[str, NDArray[Any]]) -> Ranker | None:
    if not (parts := _parts(name, arrays)):
        return None
    ranker = Ranker(parts)
    if ranker.width != width and (name, ranker.width) not in _EARLIER:
        raise KeyError(f"{name}: {ranker.width} features where this release has {width}")
    return ranker


def _gate(arrays: Mapping[str, NDArray[Any]]) -> Logistic:
    gate = Logistic(_parts("gate", arrays))
    if gate.width != WHOLE_FEATURES:
        raise KeyError(f"gate: {gate.width} features where this release has {WHOLE_FEATURES}")
    return gate


def _parts(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
