"""Are these arguments valid under the schema that was offered? Schemas from requests are untrusted data.

Remote references are refused, regular expressions are matched by an engine without backtracking, and
a schema that cannot be compiled makes no call valid. What this file does not know: requests.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from ultracore.distillation.students.compact.per_tool import PerTool
from ultracore.distillation.tools import Tool

__all__ = ["is_valid"]

MAX_SCHEMA_BYTES = 262_144


def is_valid(tool: Tool, arguments: dict[str, Any]) -> bool:
    """Whether a call of the tool with these arguments keeps the tool's schema.

    Example:
        >>> tool = Tool("f", parameters={"type": "object", "required": ["x"]})
        >>> is_valid(tool, {}), is_valid(tool, {"x": 1})
        (False, True)
    """
    if not tool.parameters:
        return True
    validator = _of_tool(tool)
    return validator is not None and bool(validator.is_valid(arguments))


@lru_cache(maxsize=4096)
def _validator(schema: bytes) -> Any:
    if len(schema) > MAX_SCHEMA_BYTES:
        return None
    try:
        return jsonschema_rs.validator_for(
            msgspec.json.decode(schema),
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (ValueError, TypeError, RecursionError):
        return None


_of_tool: PerTool[Any] = PerTool(lambda tool: _validator(msgspec.json.encode(tool.parameters)))


def _refuse(uri: str) -> Any:
    raise ValueError(f"schemas are not fetched: {uri}")
