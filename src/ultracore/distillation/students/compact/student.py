"""The compact student: whole calls proposed by numpy and plain Python in milliseconds.

Tiers: a cache of contexts seen before; a ranking of the actions offered now; a ranking of candidate
values for each argument; a ranking of whole calls with a calibrated confidence. What this file does
not know: how it was trained (`train.fit`), and what confidence is enough (`students.certificate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ultracore.distillation.decisions import State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.compact.actions import ActionEvidence
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.drafts import Draft, draft_calls
from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.sparse import Vector, document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.students.schema import is_valid

__all__ = ["CompactStudent", "Rankers", "select"]


class Rankers:
    """The fitted rankers.

    Args:
        actions: Ranks actions.
        arguments: Ranks candidate values; `None` where no argument was ever seen.
        calls: Ranks whole calls by tolerant agreement: which draft to propose.
        gate: Probability that a whole call agrees strictly: how sure the proposal is.
    """

    def __init__(self, actions: Ranker, arguments: Ranker | None, calls: Ranker, gate: Logistic) -> None:
        self.actions = actions
        self.arguments = arguments
        self.calls = calls
        self.gate = gate


def select(drafts: Sequence[Draft], calls: Ranker, gate: Logistic) -> tuple[int, float]:
    """Which draft to propose, and how probable it is that the teacher decides exactly so."""
    rows = np.stack([draft.features for draft in drafts])
    best = int(calls.scores(rows).argmax())
    return best, float(gate.probabilities(rows[best : best + 1])[0])


class CompactStudent:
    """Implements `students.base.Student`.

    Args:
        evidence: Linear models, n-grams and argument counts.
        rankers: The rankers.
        memory: Contexts seen in training.
        model_id: Hash of the artefact.
    """

    def __init__(self, evidence: ActionEvidence, rankers: Rankers, memory: ContextMemory, model_id: str = "") -> None:
        self.evidence = evidence
        self.rankers = rankers
        self.memory = memory
        self._model_id = model_id

    @property
    def model_id(self) -> str:
        """Hash of the artefact, or "" for a student that was never saved."""
        return self._model_id

    def propose(self, state: State) -> Proposal:
        """What the teacher would probably do now; see `students.base.Student`."""
        remembered = self.memory.recall(state)
        if remembered is not None:
            return remembered
        transcript = Transcript(state)
        return self.propose_from(transcript, Candidates(transcript), self.encode(transcript))

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """As `propose` on each state."""
        return [self.propose(state) for state in states]

    def save(self, folder: Path) -> str:
        """Write the student to a folder; returns the id under which `load_student` brings it back."""
        from ultracore.distillation.students.compact.artefact import save_student  # which knows this class

        return save_student(self, folder)

    def encode(self, transcript: Transcript) -> Vector:
        """The sparse features of a conversation."""
        return self.evidence.encoder.encode(document_of(transcript))

    def propose_from(self, transcript: Transcript, pool: Candidates, row: Vector) -> Proposal:
        """As `propose` on a conversation that is read already; the memory is not asked."""
        rankers = self.rankers
        drafts = draft_calls(transcript, pool, row, self.evidence, rankers.actions, rankers.arguments)
        best, confidence = select(drafts, rankers.calls, rankers.gate)
        return proposal_of(drafts[best], confidence, transcript)


def proposal_of(draft: Draft, confidence: float, transcript: Transcript) -> Proposal:
    """A draft as a proposal; arguments that break the offered schema count as missing."""
    missing = draft.missing
    for call in draft.calls:
        if not missing and not is_valid(transcript.tools[call.name], call.arguments or {}):
            missing = (f"{call.name}: arguments break the schema",)
    return Proposal(draft.calls, 0.0 if missing else confidence, missing)
