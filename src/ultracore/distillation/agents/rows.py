"""The rows that an agent is given, as decisions of one teacher.

What this file does not know: where the rows come from, and what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ultracore.distillation.curate.embed import read_decisions
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError, DataError

__all__ = ["is_decision", "of_teacher", "teacher_decisions"]


def is_decision(row: Any) -> bool:
    """Whether it is a decision, or a row that can be read as one."""
    return isinstance(row, Decision) or (
        isinstance(row, Mapping) and "tool_selected" in row and "tools_available" in row
    )


def of_teacher(rows: Any, needs: str) -> list[Any]:
    """The rows without those that a student answered: they are no labels.

    Args:
        rows: A list of rows or decisions.
        needs: What the caller wanted, for the message.

    Raises:
        ConfigurationError: It is not a list.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise ConfigurationError(f"{needs}, such as logger.get_history()")
    return [row for row in rows if not (isinstance(row, Mapping) and row.get("source") == "student")]


def teacher_decisions(rows: Any, needs: str) -> list[Decision]:
    """As `of_teacher`, read as decisions.

    Raises:
        ConfigurationError: It is not a list.
        DataError: A row cannot be read, or there is more than one teacher or tenant.
    """
    decisions = read_decisions(of_teacher(rows, needs))
    for what, names in (
        ("teacher_model", {d.teacher for d in decisions}),
        ("tenant_id", {d.tenant for d in decisions}),
    ):
        if len(names - {""}) > 1:
            raise DataError(f"rows of more than one {what}: {sorted(names - {''})}; pass those of one at a time")
    return decisions
