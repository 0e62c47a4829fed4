"""Keyed pseudonyms: the same value has always the same one, of the same shape, and nobody can go back without the key.

A phone number stays one, digits in the same places, so that a model still learns that an argument was
copied from a message. What this file does not know: where values are found, and where the key is kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from ultracore.distillation.events.privacy.checksums import compact, mod97

__all__ = ["Pseudonyms"]

PREFIX = "sub_"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class Pseudonyms:
    """Makes pseudonyms under one secret.

    Args:
        secret: 32 bytes, kept apart from the log.

    Example:
        >>> names = Pseudonyms(bytes(32))
        >>> names.of_subject("default", "alice")
        'sub_01ed5ad91fb1b25b5dc74cd9e48ffd32'
        >>> names.of_value("phone", "+49 151 2345678") == names.of_value("phone", "+49 151 2345678")
        True
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of_subject(self, tenant: str, subject: str) -> str:
        """Stands for a person in the log; two tenants' are not comparable."""
        return PREFIX + self._digest("subject", f"{len(tenant)}:{tenant}{subject}").hex()[:32]

    def of_value(self, kind: str, value: str) -> str:
        """Stands for a value; equal whatever spaces and punctuation the value was written with."""
        if kind == "mail":
            return self._mail(value)
        stream = self._stream(kind, compact(value).upper())
        if kind == "iban":
            return _iban(value, stream)
        return "".join(_like(char, stream) for char in value)

    def _mail(self, value: str) -> str:
        name, _, domain = value.lower().rpartition("@")
        return f"{self._word('mail', f'{name}@{domain}', 8)}@{self._word('domain', domain, 6)}.example"

    def _word(self, kind: str, value: str, length: int) -> str:
        stream = self._stream(kind, value)
        return "".join(ALPHABET[next(stream) % 26] for _ in range(length))

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._secret, f"{kind}\0{value}".encode(), "sha256")

    def _stream(self, kind: str, value: str) -> Iterator[int]:
        block = b""
        while True:
            block = hmac.digest(self._secret, block + f"{kind}\0{value}".encode(), "sha256")
            yield from block


def _like(char: str, stream: Iterator[int]) -> str:
    if char.isdigit():
        return char if char == "0" else str(1 + next(stream) % 9)
    if char.isalpha():
        letter = ALPHABET[next(stream) % 26]
        return letter.upper() if char.isupper() else letter
    return char


def _iban(value: str, stream: Iterator[int]) -> str:
    """Country kept, account replaced, check digits right again."""
    account = [_like(char, stream) for char in value[4:]]
    country = value[:2]
    check = 98 - mod97(compact("".join(account)) + country + "00")
    return f"{country}{check:02d}" + "".join(account)
