"""Blocks read back as they were packed, and say which event is damaged."""

from __future__ import annotations

import hashlib
import json
import string

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.events import block as blocks
from ultracore.distillation.events.block import (
    GENESIS,
    Block,
    DamagedBlockError,
    Row,
    link,
    pack,
    payloads,
    rows,
    split,
)

name = st.text(string.printable, min_size=1, max_size=8)
maybe = st.none() | name
any_row = st.builds(
    Row, name, name, st.integers(0, 9), name, name, name, maybe, maybe, name, maybe, maybe, st.binary(max_size=40)
)


def row(i: int, payload: bytes = b"{}") -> Row:
    return Row(f"e{i}", "T", 1, f"e{i}", "decision", "t", "a", None, "2026-01-01T00:00:00+00:00", None, "k", payload)


@given(st.lists(any_row, max_size=20))
@settings(max_examples=100, deadline=None)
def test_there_and_back_is_the_same(batch: list[Row]) -> None:
    block = pack(batch)
    assert rows(block) == batch
    assert payloads(block) == [r.payload for r in batch]
    assert block.events == len(batch)


def test_the_stored_form_is_what_the_docstring_says() -> None:
    block = pack([row(1, b'{"x":1}')])
    assert json.loads(zstandard.decompress(block.rows)) == [
        ["e1", "T", 1, None, "decision", "t", "a", None, "2026-01-01T00:00:00+00:00", None, "k"]
    ]
    assert zstandard.decompress(block.data) == b'{"x":1}'


def test_the_hash_covers_previous_header_and_every_stored_byte() -> None:
    block = pack([row(1), row(2)])
    header = b"".join(
        value.to_bytes(size, "little")
        for value, size in ((7, 8), (2, 4), (len(block.rows), 8), (len(block.sums), 8), (len(block.data), 8))
    )
    content = hashlib.sha256(block.rows + block.sums + block.data).digest()
    assert link(GENESIS, 7, block) == hashlib.sha256(b"distill-block-1\0" + GENESIS + header + content).digest()
    assert link(GENESIS, 7, block, block.digest()) == link(GENESIS, 7, block)
    others = {
        link(b"\1" * 32, 7, block),
        link(GENESIS, 8, block),
        link(GENESIS, 7, block._replace(events=3)),
        link(GENESIS, 7, block._replace(rows=block.rows + b"x")),
        link(GENESIS, 7, Block(2, block.rows, block.sums + block.data, b"")),
    }
    assert link(GENESIS, 7, block) not in others
    assert len(others) == 5


def test_a_changed_payload_is_named() -> None:
    batch = [row(i, bytes([i]) * 100) for i in range(10)]
    block = pack(batch)
    contents = [r.payload for r in batch]
    contents[6] = b"x" * 100
    changed = block._replace(data=zstandard.compress(b"".join(contents)))
    with pytest.raises(DamagedBlockError) as error:
        payloads(changed)
    assert error.value.index == 6


@pytest.mark.parametrize("field", ["rows", "sums", "data"])
def test_no_cut_is_read_as_if_it_were_whole(field: str) -> None:
    block = pack([row(i, hashlib.sha256(bytes([i])).digest() * 4) for i in range(20)])
    whole = getattr(block, field)
    for end in range(len(whole)):
        with pytest.raises(DamagedBlockError):
            rows(block._replace(**{field: whole[:end]}))
    with pytest.raises(DamagedBlockError):
        rows(block._replace(**{field: whole + b"x"}))


def test_the_events_before_the_damage_are_told_apart_from_it() -> None:
    batch = [row(i, hashlib.shake_256(bytes([i % 251, i // 251])).digest(2000)) for i in range(200)]
    block = pack(batch)
    with pytest.raises(DamagedBlockError) as error:
        payloads(block._replace(data=block.data[: len(block.data) // 2]))
    assert 30 < error.value.index <= 100


def test_more_events_than_lines_or_sums_is_damage() -> None:
    block = pack([row(1), row(2)])
    for changed in (block._replace(events=3), block._replace(events=1)):
        with pytest.raises(DamagedBlockError):
            rows(changed)


def test_runs_keep_both_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_EVENTS", 3)
    monkeypatch.setattr(blocks, "MAX_BYTES", 10)
    sizes = [1, 1, 1, 1, 9, 1, 2, 50, 1]
    batch = [row(i, b"x" * size) for i, size in enumerate(sizes)]
    runs = list(split(batch))
    assert [[len(r.payload) for r in run] for run in runs] == [[1, 1, 1], [1, 9], [1, 2], [50], [1]]
    assert [r for run in runs for r in run] == batch
    assert list(split([])) == []
