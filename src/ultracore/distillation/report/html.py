"""HTML elements from Python, where whatever is not already HTML is escaped.

Text of unknown origin reaches the page through `el` only, as a text node or as an attribute's
value; so it stays text. What this file does not know: what the page says.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from ultracore.distillation.report.words import clean

__all__ = ["Child", "Html", "el", "hashes", "join", "json_data", "table"]

VOID = frozenset({"meta", "input", "br", "hr"})


class Html(str):
    """Text that is HTML already; only this module makes it from parts."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | float | Iterable[Child] | None"


def el(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element. `class_` is `class`, `data_x` is `data-x`; `None` and `False` leave an attribute out.

    Example:
        >>> el("p", "1 < 2", class_="note")
        '<p class="note">1 &lt; 2</p>'
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{html.escape(clean(str(value)))}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening if tag in VOID else f"{opening}{join(*children)}</{tag}>")


def join(*children: Child) -> Html:
    """Children one after the other: HTML as it is, everything else escaped, `None` left out."""
    return Html("".join(_render(child) for child in children))


def table(head: Iterable[str], rows: Iterable[Iterable[Child]], caption: str, numeric_from: int = 1) -> Html:
    """A table whose first cell in each row heads the row.

    Args:
        head: Column names.
        rows: Cells.
        caption: Said to those who cannot see the table.
        numeric_from: From this column on, cells are aligned to the right.
    """
    names = list(head)
    body = [el("tr", [_cell(i, cell, numeric_from) for i, cell in enumerate(row)]) for row in rows]
    heading = el(
        "tr", [el("th", n, scope="col", class_="num" if i >= numeric_from else None) for i, n in enumerate(names)]
    )
    parts = el("table", el("caption", caption, class_="hidden"), el("thead", heading), el("tbody", body))
    return el("div", parts, class_="scroll", tabindex=0, role="region", aria_label=caption)


def json_data(value: Any, identity: str) -> Html:
    """A script element that holds data: nothing in it can end the element or be run."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{html.escape(identity)}">{text}</script>')


def hashes(texts: Iterable[str]) -> str:
    """CSP sources that let these very scripts or styles be used and no other."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _cell(index: int, cell: Child, numeric_from: int) -> Html:
    if index == 0:
        return el("th", cell, scope="row")
    return el("td", cell, class_="num" if index >= numeric_from else None)


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int | float):
        return html.escape(clean(child), quote=False)
    return "".join(_render(item) for item in child)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null, which draws as a gap."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return clean(value) if isinstance(value, str) else value
