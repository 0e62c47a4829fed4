"""Which student answers now, and where its files are: the log decides, the folder only holds bytes.

A model's folder appears whole or not at all, and never changes afterwards; a certificate's file is
named by its hash and is compared with the log when it is read. A kill at any point leaves at most
files that no event speaks of. What this file does not know: training, and when to deploy or revoke.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.events import CertificateDecidedEvent, EventStore
from ultracore.distillation.events.moment import Moment
from ultracore.distillation.events.sync import sync
from ultracore.distillation.students.artefact import kind_of
from ultracore.distillation.students.base import Student
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.models import active_model
from ultracore.distillation.tools import canonical_json

__all__ = ["Deployed", "ModelRegistry", "Savable", "certificate_hash"]


class Savable(Protocol):
    """A student that can be written to files."""

    def save(self, folder: Path) -> str:
        """Write every file into the folder; returns the model id, equal for equal files."""
        ...


class Deployed(NamedTuple):
    """The model that answers.

    Attributes:
        model_id: Its id.
        student: Loaded and verified.
        certificate: What it may send.
        folder: Its files.
    """

    model_id: str
    student: Student
    certificate: Certificate
    folder: Path


def certificate_hash(certificate: Certificate) -> str:
    """Names a certificate: equal for equal content."""
    return certificate.fingerprint


class ModelRegistry:
    """Publishes models and tells which one is deployed.

    Args:
        home: The home folder; models live in `home/models`.
        store: The log.
        load: Reads a student from its folder; by its kind by default.
    """

    def __init__(self, home: Path, store: EventStore, load: Callable[[Path], Student] | None = None) -> None:
        self.models = Path(home) / "models"
        self._store = store
        self._load = load

    def folder_of(self, model_id: str) -> Path:
        """Where the files of a model are, or would be.

        Raises:
            ArtefactError: The id cannot name a folder.
        """
        if not model_id or model_id != Path(model_id).name or model_id.startswith("."):
            raise ArtefactError(f"{model_id!r} is no model id; ids come from training")
        return self.models / model_id

    def publish(self, student: Savable) -> str:
        """Store a student's files; publishing the same student twice changes nothing.

        Returns:
            The model id.

        Raises:
            ArtefactError: The files cannot be written.
        """
        draft = self.models / f".draft-{uuid.uuid4().hex}"
        try:
            draft.mkdir(parents=True)
            model_id = student.save(draft)
            _sync_tree(draft)
            _rename(draft, self.folder_of(model_id))
            sync(self.models)
        except OSError as error:
            raise ArtefactError(f"the model could not be written to {self.models}: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return model_id

    def load(self, model_id: str) -> Student:
        """Read a student back.

        Raises:
            ArtefactError: Its files are missing, altered, or another model's.
        """
        folder = self.folder_of(model_id)
        if not folder.is_dir():
            raise ArtefactError(f"model {model_id} has no files in {self.models}; train again or restore them")
        student = (self._load or _load_any)(folder)
        if student.model_id != model_id:
            raise ArtefactError(f"the files of {model_id} hold model {student.model_id!r}; restore them or train again")
        return student

    def save_certificate(self, certificate: Certificate) -> str:
        """Write a certificate beside its model's folder; the event that announces it comes after.

        Returns:
            Its hash.

        Raises:
            ArtefactError: The model is not published, or the file cannot be written.
        """
        if not self.folder_of(certificate.model_id).is_dir():
            raise ArtefactError(f"model {certificate.model_id} is not published; publish it before its certificate")
        name = certificate_hash(certificate)
        target = self._certificate_file(certificate.model_id, name)
        draft = target.with_name(f".draft-{uuid.uuid4().hex}")
        try:
            draft.write_bytes(canonical_json(msgspec.to_builtins(certificate)))
            sync(draft)
            draft.replace(target)
            sync(self.models)
        except OSError as error:
            raise ArtefactError(f"the certificate could not be written to {target}: {error}") from error
        finally:
            draft.unlink(missing_ok=True)
        return name

    def load_certificate(self, model_id: str, tenant: str = "default") -> Certificate:
        """The last certificate that was issued (not refused) to a model, read from its file.

        Raises:
            ArtefactError: None was issued, or its file is missing or not what the log says.
        """
        issued = None
        types = [CertificateDecidedEvent.event_type]
        for event in self._store.read(types=types, aggregate=model_id, tenant=tenant):
            if isinstance(event, CertificateDecidedEvent) and event.certified:
                issued = event.certificate
        if issued is None:
            raise ArtefactError(f"no certificate was ever issued to model {model_id}; train again")
        return self._read_certificate(model_id, msgspec.convert(issued, Certificate).fingerprint)

    def active_id(self, tenant: str = "default", as_of: Moment | None = None) -> str | None:
        """The deployed model, by the log alone; with `as_of` the one that answered at that position or time."""
        return active_model(self._store, tenant, as_of)

    def active(self, tenant: str = "default") -> Deployed | None:
        """The deployed model, loaded and verified; `None` where none is.

        Raises:
            ArtefactError: Its files or its certificate are missing or altered, or it is not certified.
        """
        model_id = self.active_id(tenant)
        return None if model_id is None else self.deployable(model_id, tenant)

    def deployable(self, model_id: str, tenant: str = "default") -> Deployed:
        """A model as it would answer, loaded and verified, with its certificate.

        Raises:
            ArtefactError: Its files or its certificate are missing or altered, or it is not certified.
        """
        certificate = self.load_certificate(model_id, tenant)
        if not certificate.certified or certificate.model_id != model_id:
            raise ArtefactError(f"model {model_id} is deployed without a certificate of its own; train again")
        return Deployed(model_id, self.load(model_id), certificate, self.folder_of(model_id))

    def _certificate_file(self, model_id: str, name: str) -> Path:
        return self.models / f"{model_id}.certificate-{name}.json"

    def _read_certificate(self, model_id: str, name: str) -> Certificate:
        file = self._certificate_file(model_id, name)
        try:
            certificate = msgspec.json.decode(file.read_bytes(), type=Certificate)
        except (OSError, msgspec.MsgspecError) as error:
            raise ArtefactError(f"the certificate of {model_id} cannot be read: {error}; train again") from error
        if certificate_hash(certificate) != name:
            raise ArtefactError(f"the certificate of {model_id} is not the one in the log; train again")
        return certificate


def _load_any(folder: Path) -> Student:
    if kind_of(folder) == "prompted":
        from ultracore.distillation.students.prompted.student import load_prompted

        return load_prompted(folder)
    from ultracore.distillation.students.compact.artefact import load_student  # numpy, only when a model is read

    return load_student(folder)


def _rename(draft: Path, target: Path) -> None:
    """Atomic; where the target exists already its files are equal, because its name is their hash."""
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
