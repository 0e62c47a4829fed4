"""Wraps keys under a master key from outside, so that the keyring's file alone opens nothing.

What this file does not know: what the keys are for, and where the master key comes from.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ultracore.distillation.errors import ConfigurationError, LogError

__all__ = ["KEY_BYTES", "Wrapping", "master_key"]

KEY_BYTES = 32
NONCE_BYTES = 12


class Wrapping:
    """Wraps with AES-256-GCM where there is a master key, else leaves keys as they are.

    Args:
        path: The keyring's file, named in errors.
        master: The master key, if there is one.
        wrapped: Whether the file's keys are wrapped already.

    Raises:
        LogError: They are, and there is no master key.
    """

    def __init__(self, path: Path, master: bytes | None, wrapped: bool) -> None:
        if wrapped and master is None:
            raise LogError(f"the keyring {path} is wrapped under a master key; set the variable that holds it")
        self._path = path
        self._aead = None if master is None else AESGCM(master)

    @property
    def is_on(self) -> bool:
        """Whether keys are wrapped."""
        return self._aead is not None

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """A key as it is stored; `about` must be the same when it is unwrapped."""
        if self._aead is None:
            return key
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, key, about)

    def unwrap(self, stored: bytes, about: bytes) -> bytes:
        """The key again.

        Raises:
            LogError: It was wrapped under another master key, or was altered.
        """
        if self._aead is None:
            return stored
        try:
            return self._aead.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], about)
        except InvalidTag:
            raise LogError(
                f"the keyring {self._path} was wrapped under another master key, or was altered; "
                "set the right key, or restore the keyring"
            ) from None


def master_key(variable: str, env: Mapping[str, str]) -> bytes | None:
    """The master key in an environment variable: 32 bytes in base64; `None` where it is not set.

    Raises:
        ConfigurationError: It is something else; the value is not repeated.
    """
    text = env.get(variable, "").strip()
    if not text:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{variable} must hold 32 random bytes in base64; make them with `openssl rand -base64 32`"
        )
    return key
