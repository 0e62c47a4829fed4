"""Files of older releases become files of this one, in one transaction: whole or not at all.

Version 1 kept each event as a row with its payload as text; positions and facts stay as they were.
What this file does not know: how a file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec

from ultracore.distillation.events import codec
from ultracore.distillation.events.block import Row, split
from ultracore.distillation.events.kept_parts import KeptParts
from ultracore.distillation.events.packer import Packer
from ultracore.distillation.events.sqlite.blocks import BlockWriter

__all__ = ["from_1"]


def from_1(connection: apsw.Connection, create: Callable[[apsw.Connection], None]) -> None:
    """Version 1 to version 2; the caller's transaction is open."""
    connection.execute("DROP INDEX events_by_type; DROP INDEX events_by_aggregate")
    connection.execute("ALTER TABLE events RENAME TO events_1")
    create(connection)
    packer = Packer()
    writer = BlockWriter(connection, packer, KeptParts())
    try:
        for run in split(_rows_of_1(connection, writer)):
            writer.index(run)
            writer.flush()
    finally:
        packer.close()
    connection.execute("DROP TABLE events_1")


def _rows_of_1(connection: apsw.Connection, writer: BlockWriter) -> Iterator[Row]:
    query = (
        "SELECT event_id, type, version, aggregate, aggregate_type, tenant,"
        " occurred_at, causation, correlation, payload FROM events_1 ORDER BY position"
    )
    for values in connection.execute(query):
        text = values[-1]
        payload, parts, _ = codec.share(values[1], text.encode())
        writer.keep_parts(parts)
        yield Row._make((*values[:6], _agent(text), None, *values[6:9], payload))


def _agent(text: str) -> str | None:
    data: Any = msgspec.json.decode(text)
    agent = data.get("agent_id") if isinstance(data, dict) else None
    return agent if isinstance(agent, str) else None
