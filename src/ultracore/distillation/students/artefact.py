"""A model on disk: configuration as JSON, numbers as safetensors, and a manifest of hashes.

Nothing is unpickled and nothing is executed: a folder that differs from its manifest by one byte, holds
a file that the manifest does not name, or links elsewhere is refused. The model id is the hash of the
manifest, so a changed weight is another model. What this file does not know: what the numbers mean.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.events.sync import sync
from ultracore.distillation.tools import canonical_json

__all__ = ["kind_of", "read_artefact", "write_artefact"]

CONFIG, TENSORS, MANIFEST = "config.json", "weights.safetensors", "manifest.json"
FORMAT = 1
MAX_BYTES = 512 * 1024**2
"""Of one file; a larger one is refused before it is read, so that a candidate cannot take the memory of the model that
answers. The largest student in the benchmarks takes a tenth of it."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the folder holds.

    Attributes:
        format: Version of this layout.
        kind: Kind of model, such as `compact`.
        files: SHA-256 of each file by name.
    """

    format: int
    kind: str
    files: dict[str, str]


def write_artefact(folder: Path, kind: str, config: Any, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write a model so that it is there whole or not at all.

    Args:
        folder: Where it goes; a model that is there already is replaced.
        kind: Kind of model.
        config: JSON-ready settings and vocabularies.
        arrays: Named arrays.

    Returns:
        The model id: 16 hex digits of the manifest's SHA-256.

    Raises:
        ArtefactError: The folder cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    files = {CONFIG: canonical_json(config), TENSORS: save_tensors(contiguous)}
    manifest = Manifest(FORMAT, kind, {name: _sha256(content) for name, content in files.items()})
    files[MANIFEST] = canonical_json(manifest)
    try:
        _publish(folder, files)
    except OSError as error:
        raise ArtefactError(f"cannot write the model to {folder}: {error.strerror or error}") from None
    return _sha256(files[MANIFEST])[:16]


def kind_of(folder: Path) -> str:
    """What kind of model a folder says it holds, before anything of it is verified; "" where it does not say."""
    try:
        return msgspec.json.decode(_read(folder, MANIFEST), type=Manifest).kind
    except (ArtefactError, msgspec.DecodeError):
        return ""


def read_artefact(folder: Path, kind: str) -> tuple[str, Any, dict[str, NDArray[Any]]]:
    """Read and verify a model.

    Returns:
        The model id, the configuration and the arrays.

    Raises:
        ArtefactError: A file is missing, altered, too large, a link, unknown to the manifest, or the
            model is of another kind or of a newer format.
    """
    manifest_bytes = _read(folder, MANIFEST)
    try:
        manifest = msgspec.json.decode(manifest_bytes, type=Manifest)
    except msgspec.DecodeError as error:
        raise ArtefactError(f"{folder / MANIFEST} is not a manifest: {error}") from None
    if manifest.format > FORMAT or manifest.kind != kind:
        raise ArtefactError(
            f"{folder} holds a {manifest.kind!r} model of format {manifest.format}; "
            f"this release loads {kind!r} of format {FORMAT}"
        )
    if set(manifest.files) != {CONFIG, TENSORS}:
        raise ArtefactError(f"{folder / MANIFEST} must name exactly {CONFIG} and {TENSORS}")
    content = {name: _verified(folder, name, digest) for name, digest in manifest.files.items()}
    try:
        arrays = load_tensors(content[TENSORS])
        config = msgspec.json.decode(content[CONFIG])
    except (SafetensorError, msgspec.DecodeError) as error:
        raise ArtefactError(f"{folder} cannot be read as a model: {error}") from None
    return _sha256(manifest_bytes)[:16], config, arrays


def _publish(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            with (staging / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _verified(folder: Path, name: str, digest: str) -> bytes:
    content = _read(folder, name)
    if _sha256(content) != digest:
        raise ArtefactError(f"{folder / name} differs from its manifest; train again or restore the folder")
    return content


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file():
            raise ArtefactError(f"{path} is missing or not a plain file; is {folder} a model folder?")
        if path.stat().st_size > MAX_BYTES:
            raise ArtefactError(f"{path} is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error.strerror or error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
