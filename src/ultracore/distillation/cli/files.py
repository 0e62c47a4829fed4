"""A run's files for people and programs: `result.json` and `report.html`, whole or not at all.

What this file does not know: what is in a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.errors import DataError

__all__ = ["PAGE", "RESULT", "read_result", "write_report", "write_result"]

RESULT = "result.json"
PAGE = "report.html"


def write_result(result: Mapping[str, Any], out: Path) -> None:
    """Write both files into a folder that exists."""
    draft = out / f".{RESULT}.draft"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    draft.replace(out / RESULT)
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
        raise DataError(f"{file} cannot be read: {error}; make it again: distill run FILE --out {out}") from None
    if not isinstance(result, dict):
        raise DataError(f"{file} is not a result; make it again: distill run FILE --out {out}")
    return result
