"""Files that commands write, whole or not at all; among them a run's `result.json` and `report.html`.

What this file does not know: what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.errors import ConfigurationError, DataError

__all__ = [
    "PAGE",
    "RESULT",
    "check_target",
    "not_a_result",
    "read_result",
    "whole_file",
    "write_report",
    "write_result",
]

RESULT = "result.json"
PAGE = "report.html"


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A draft beside the target, which takes its place once it is written.

    Raises:
        ConfigurationError: The target cannot be a file.
    """
    check_target(target)
    draft = target.with_name(f".{target.name}.draft")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def check_target(target: Path) -> None:
    """See that a file can be written there, before the work that ends in it.

    Raises:
        ConfigurationError: There is no such folder, or the target is one.
    """
    if not target.parent.is_dir():
        raise ConfigurationError(f"there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise ConfigurationError(f"{target} is a folder; name a file")


def write_result(result: Mapping[str, Any], out: Path) -> None:
    """Write both files into a folder that exists."""
    with whole_file(out / RESULT) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    write_report(result, out)


def write_report(result: Mapping[str, Any], out: Path) -> Path:
    """Write the page; returns its path."""
    from ultracore.distillation.report.page import write_page  # plotly, only when a page is drawn

    write_page(result, out / PAGE)
    return out / PAGE


def read_result(out: Path) -> dict[str, Any]:
    """Read `result.json` back.

    Raises:
        DataError: It is missing or not a result.
    """
    file = out / RESULT
    try:
        result = msgspec.json.decode(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"there is no {file}; make one: distill run FILE --out {out}") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise not_a_result(file, str(error)) from None
    if not isinstance(result, dict):
        raise not_a_result(file, "it holds no object")
    return result


def not_a_result(file: Path, why: str) -> DataError:
    """What to say of a file that a run did not write, or not whole."""
    return DataError(f"{file} is not a result: {why}; make it again: distill run FILE --out {file.parent}")
