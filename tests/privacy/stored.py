"""All that lies in a folder, as whoever steals it can read it: files, and the blocks in a log unpacked."""

from __future__ import annotations

from pathlib import Path

import apsw
import zstandard

from ultracore.distillation.events import block as blocks
from ultracore.distillation.events.sqlite.ledger import SqliteLedger


def everything(*folders: Path) -> bytes:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert files
    unpacked = [_unpacked(file) for file in files if file.name == "log.db"]
    return b"\n".join([*(str(file).encode() for file in files), *(file.read_bytes() for file in files), *unpacked])


def _unpacked(file: Path) -> bytes:
    ledger = SqliteLedger(file)
    rows = [row for found in ledger.blocks() for row in blocks.rows(found.block)]
    ledger.close()
    connection = apsw.Connection(str(file))
    parts = [zstandard.decompress(part) for (part,) in connection.execute("SELECT data FROM parts").fetchall()]
    connection.close()
    assert rows
    return b"\n".join([*(str(row[:-1]).encode() for row in rows), *(row.payload for row in rows), *parts])
