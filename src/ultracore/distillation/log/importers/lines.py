"""Lines of a text file, plain or gzip, of any size and in any condition, in little memory.

What this file does not know: what the lines say.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from ultracore.distillation.errors import DataError

__all__ = ["MAX_LINE_BYTES", "Line", "Progress", "Skip", "SkipReason", "content_hash", "read_lines"]

MAX_LINE_BYTES = 32 * 1024 * 1024
CHUNK = 1024 * 1024

SkipReason = Literal[
    "answered_locally",  # a student sent this call; it says nothing about the teacher
    "bad_arguments",  # the arguments of a call are not a JSON object
    "bad_call",  # a call without a function name, such as a custom tool's
    "bad_encoding",  # not UTF-8, or a lone surrogate
    "bad_message",  # a message is not an object, or its parts have the wrong type
    "bad_metadata",  # a tenant that cannot be one
    "bad_tools",  # the tools are not a list of definitions with names
    "damaged_gzip",  # the file ends or breaks inside its compressed stream; what follows is lost
    "duplicate",  # the same conversation came before in this file
    "empty_line",
    "line_too_long",  # longer than MAX_LINE_BYTES
    "no_decision",  # no message of an assistant
    "no_messages",
    "no_response",  # a logged request without the model's message
    "no_tools",  # nothing was offered and nothing was called: there was no choice
    "not_an_object",
    "not_json",
    "too_deep",  # nested too deeply
    "tool_not_offered",  # the call names a tool that is not among those offered
    "unknown_role",
    "weight_zero",  # marked as not to be learned from
]
"""Why a line, or one decision of it, was left out; the list is closed."""


class Skip(NamedTuple):
    """Something was left out.

    Attributes:
        line: Number of the line, from 1.
        reason: Why.
        detail: In words.
    """

    line: int
    reason: SkipReason
    detail: str = ""


class Line(NamedTuple):
    """A line of the file.

    Attributes:
        number: From 1.
        raw: Its bytes, without line end and byte order mark.
    """

    number: int
    raw: bytes


Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes of the file); both count the file as it lies on disk."""


def read_lines(path: Path, on_progress: Progress | None = None) -> Iterator[Line | Skip]:
    """Give each line, or the reason why there is none to give.

    Raises:
        DataError: The file cannot be opened or read.
    """
    with _opened(path) as (disk, stream):
        number, reported, total = 0, 0, path.stat().st_size
        while True:
            number += 1
            try:
                line = _next_line(stream, number)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                yield Skip(number, "damaged_gzip", f"nothing can be read from here on: {error}")
                return
            except OSError as error:
                raise DataError(f"cannot read {path}: {error}") from None
            if line is None:
                break
            yield line
            if isinstance(line, Skip) and line.reason == "bad_encoding":
                return
            if on_progress and disk.tell() - reported >= CHUNK:
                reported = disk.tell()
                on_progress(reported, total)
        if on_progress:
            on_progress(total, total)


def content_hash(path: Path) -> str:
    """The first 16 hex digits of the SHA-256 of the content, decompressed as far as that is possible.

    Raises:
        DataError: The file cannot be opened or read.
    """
    digest = hashlib.sha256()
    with _opened(path) as (_, stream):
        try:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            pass  # `read_lines` says so, with the line number
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}") from None
    return digest.hexdigest()[:16]


class _opened:  # noqa: N801 - reads as a verb in a `with` statement
    """The file on disk and its decompressed stream; compression is seen in the content, not the name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[IO[bytes], IO[bytes]]:
        try:
            self._disk = self._path.open("rb")
        except OSError as error:
            raise DataError(f"cannot open {self._path}: {error.strerror or error}; check the path") from None
        magic = self._disk.read(2)
        self._disk.seek(0)
        stream = gzip.GzipFile(fileobj=self._disk) if magic == b"\x1f\x8b" else self._disk
        return self._disk, cast("IO[bytes]", stream)

    def __exit__(self, *_: object) -> None:
        self._disk.close()


def _next_line(stream: IO[bytes], number: int) -> Line | Skip | None:
    raw = stream.readline(MAX_LINE_BYTES + 1)
    if not raw:
        return None
    if len(raw) > MAX_LINE_BYTES:
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(CHUNK)
        return Skip(number, "line_too_long", f"longer than {MAX_LINE_BYTES // 1024**2} MiB")
    if number == 1:
        if _is_utf16(raw):
            return Skip(1, "bad_encoding", "the file is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW")
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    raw = raw.strip(b" \t\r\n")
    return Line(number, raw) if raw else Skip(number, "empty_line")


def _is_utf16(start: bytes) -> bool:
    return start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:2]
