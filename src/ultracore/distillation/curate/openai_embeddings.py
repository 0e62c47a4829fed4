"""Embeddings from a service that speaks OpenAI's `/v1/embeddings`.

Used like any other encoder, so that `EmbeddingCache` keeps what came before a failure. What this file
does not know: which texts, and caching.
"""

from __future__ import annotations

import http.client
import math
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.errors import ConfigurationError, EncoderError

__all__ = ["OpenAIEmbeddings"]

CHARACTERS = 20_000
"""Of a state so many are sent: some 5,000 tokens, where models read 8,192; what was said last comes first."""
BUSY = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_WAIT = 60.0


class OpenAIEmbeddings:
    """An encoder for `SemDeDup`, `EmbeddingCache` and the curator.

    Args:
        base_url: Such as `https://api.openai.com/v1`.
        model: Such as `text-embedding-3-small`.
        api_key: Sent as a bearer token; kept out of `repr` and of every message.
        batch: Texts in one request.
        attempts: Requests for one batch, while the service is busy or out of reach.
        timeout: Seconds to wait for an answer.

    Raises:
        ConfigurationError: The address is not http(s), or a number is less than 1.

    Example:
        >>> OpenAIEmbeddings("http://127.0.0.1:8000/v1", "small").name
        'http://127.0.0.1:8000/v1 small'
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        batch: int = 128,
        attempts: int = 4,
        timeout: float = 60.0,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"base_url must begin with http:// or https://, not {base_url!r}")
        if batch < 1 or attempts < 1:
            raise ConfigurationError("batch and attempts must be at least 1")
        self.base_url, self.model = base_url.rstrip("/"), model
        self.batch, self.attempts, self.timeout = batch, attempts, timeout
        self._key = api_key

    @property
    def name(self) -> str:
        """Under which a cache keeps its vectors."""
        return f"{self.base_url} {self.model}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dimensions], in the order of the texts.

        Raises:
            EncoderError: The service refused, stayed busy, or answered with something else.
        """
        parts = [self._batch(texts[start : start + self.batch]) for start in range(0, len(texts), self.batch)]
        try:
            return np.array([vector for part in parts for vector in part], np.float32)
        except ValueError:
            raise EncoderError(f"{self.name} gave vectors of different lengths") from None

    def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        body = msgspec.json.encode({"model": self.model, "input": [_sent(text) for text in texts]})
        for attempt in range(1, self.attempts + 1):
            try:
                return self._vectors(self._post(body), len(texts))
            except _BusyError as busy:
                if attempt == self.attempts:
                    raise EncoderError(f"{self.name}: {busy}; what was embedded is kept, run again") from None
                time.sleep(min(LONGEST_WAIT, busy.wait if busy.wait is not None else 0.25 * 2**attempt))
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self.base_url}/embeddings", body, headers)  # noqa: S310 - http(s) only
        try:
            with _opener.open(request, timeout=self.timeout) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code in BUSY:
                    raise _BusyError(f"HTTP {error.code}", _seconds(error.headers.get("retry-after"))) from None
                raise EncoderError(f"{self.name} refused: HTTP {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _BusyError(f"out of reach ({error})", None) from None

    def _vectors(self, answer: bytes, count: int) -> list[list[float]]:
        try:
            found = {item["index"]: item["embedding"] for item in msgspec.json.decode(answer)["data"]}
            return [found[place] for place in range(count)]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise EncoderError(f"{self.name} did not answer with one embedding for each of {count} texts") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere; without a new request it is an error like any other."""

    def redirect_request(self, *_: object) -> None:
        """See `urllib.request.HTTPRedirectHandler`."""


_opener = urllib.request.build_opener(_NoRedirect)


class _BusyError(Exception):
    """The service may answer later."""

    def __init__(self, what: str, wait: float | None) -> None:
        super().__init__(what)
        self.wait = wait


def _sent(text: str) -> str:
    return text[:CHARACTERS].encode("utf-8", "replace").decode() or " "


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
