"""Signed statements of where a log's chain stood, kept outside the log.

A hash chain alone does not show that the whole file was replaced by an older one, that its tail was
dropped, or that all of it was chained anew after an edit. A statement {position, hash, time, store}
signed with Ed25519 and kept elsewhere does. What this file does not know: logs (`verify` compares).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.base import utc_now
from ultracore.distillation.events.line_file import append_line, whole_lines

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Checkpoint", "CheckpointSigner", "read_checkpoints"]

FILE = "checkpoints.jsonl"
KEY = "key.pem"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed.

    Attributes:
        position: Of the last event.
        hash: The chain's hash there, in hex digits.
        time: When it was signed, ISO 8601.
        store_id: Which log.
    """

    position: int
    hash: str
    time: str
    store_id: str


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the file; `signature` is over the JSON of `checkpoint` as it is written here."""

    checkpoint: msgspec.Raw
    key: str
    signature: str


class CheckpointSigner:
    """Signs checkpoints and appends them to a file.

    Args:
        folder: Where file and key are kept; made, with a key only its owner can read, at the first signature.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._key: Ed25519PrivateKey | None = None

    def sign(self, position: int, digest: bytes, store_id: str, time: datetime | None = None) -> None:
        """State that the log's chain had this hash at this position.

        Raises:
            OSError: The file or the key cannot be written.
            LogError: The key file is no Ed25519 key.
        """
        if self._key is None:
            self._key = _load_key(self.folder)
        checkpoint = msgspec.json.encode(
            Checkpoint(position=position, hash=digest.hex(), time=(time or utc_now()).isoformat(), store_id=store_id)
        )
        line = Signed(
            checkpoint=msgspec.Raw(checkpoint),
            key=self._key.public_key().public_bytes_raw().hex(),
            signature=self._key.sign(checkpoint).hex(),
        )
        append_line(self.folder / FILE, msgspec.json.encode(line), 0o644)


def read_checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoints of a folder, each with a valid signature of one and the same key.

    The key is that of the folder's key file; where only the file was handed over, that of its first line.

    Raises:
        LogError: A line is not a checkpoint, or its signature is not valid.
    """
    file, key = Path(folder) / FILE, _public_key(Path(folder))
    try:
        lines = whole_lines(file)
    except OSError as error:
        raise LogError(f"the checkpoints {file} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            signed = msgspec.json.decode(line, type=Signed)
            checkpoint = msgspec.json.decode(signed.checkpoint, type=Checkpoint)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LogError(f"{file}:{number}: this line is not a checkpoint: {error}") from None
        key = key or signed.key
        if signed.key != key or not _is_valid(signed):
            raise LogError(f"{file}:{number}: the signature of position {checkpoint.position} is not valid")
        yield checkpoint


def _is_valid(signed: Signed) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.key))
        public.verify(bytes.fromhex(signed.signature), bytes(signed.checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def _load_key(folder: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = folder / KEY
    if not path.exists():
        _make_key(path)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise LogError(f"{path} is not a key that signs checkpoints: {error}; move it away") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LogError(f"{path} is not an Ed25519 key; move it away")
    return key


def _make_key(path: Path) -> None:
    """A new key, whole or not at all; whoever comes second takes the first one's."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent) as draft:  # made with mode 0600
        draft.write(pem)
        draft.flush()
        os.fsync(draft.fileno())
        try:
            os.link(draft.name, path)
        except FileExistsError:
            return


def _public_key(folder: Path) -> str | None:
    return _load_key(folder).public_key().public_bytes_raw().hex() if (folder / KEY).exists() else None
