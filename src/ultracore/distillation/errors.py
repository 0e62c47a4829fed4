"""Every error a user can meet, in one tree; each message says what happened and what to do next.

Nothing else is raised on purpose across the package's public surface. What this file does not
know: exit codes and HTTP statuses, which belong to the edges (`cli`, `serve`).
"""

from __future__ import annotations

__all__ = [
    "ArtefactError",
    "ConcurrencyError",
    "ConfigurationError",
    "DataError",
    "DistillationError",
    "EncoderError",
    "EventError",
    "LogError",
    "LogUnavailableError",
    "MissingExtraError",
    "ProductError",
    "UnknownSessionError",
]


class DistillationError(Exception):
    """The root: catch this to catch everything the package raises on purpose."""


class ConfigurationError(DistillationError):
    """A setting, argument or environment variable has a value that cannot be used."""


class DataError(DistillationError):
    """The input holds nothing that can be learned from, or not enough of it."""


class EncoderError(DistillationError):
    """An embedding service refused, stayed out of reach, or answered with something else; run again, or change it."""


class EventError(DistillationError):
    """An event is malformed, of an unknown type, or of a newer version than this release reads."""


class LogError(DistillationError):
    """The decision log cannot be opened, read or written; nothing was acknowledged."""


class LogUnavailableError(LogError):
    """The server that keeps the decision log cannot be reached; it may come back, then try again."""


class ConcurrencyError(LogError):
    """Somebody else appended to the aggregate first: read it again and decide anew."""


class ProductError(DistillationError):
    """A data product, column, filter or query that does not exist, or that may not be asked."""


class UnknownSessionError(DistillationError):
    """No such session is open in this logger; start one with `start_session`."""


class ArtefactError(DistillationError):
    """A model's files are incomplete, altered or of a kind that this release does not load."""


class MissingExtraError(DistillationError):
    """A feature needs packages that the base install leaves out; the message has the exact command."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional extra: pip install 'ultracore-distillation[{extra}]'")
