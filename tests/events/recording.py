"""A file system under SQLite that remembers every write and sync, and images of it after a power cut.

After a cut each write since the last sync of its file is there, is not there, or is torn at a sector.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

SECTORS = (512, 4096)


class Step(NamedTuple):
    """One thing that happened: `write`, `truncate`, `sync`, `failed` sync, `delete`, or `ack` of a position."""

    kind: str
    file: str = ""
    at: int = 0
    data: bytes = b""
    time: float = 0.0


class Recorder(apsw.VFS):
    """The default VFS while it is registered."""

    def __init__(self, trace: list[Step]) -> None:
        self.base = apsw.vfs_names()[0]
        self.syncs = 0
        self.failing = range(0)  # which of the syncs fail, counted from 0
        super().__init__("recorder", self.base, makedefault=True)
        self.trace = trace

    def sync(self, name: str) -> None:
        """Called for each sync, before it is done."""
        self.syncs += 1
        if self.syncs - 1 in self.failing:
            self.trace.append(Step("failed", name))
            raise apsw.IOError("sync failed")

    def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: N802
        return RecordedFile(self, name, flags)

    def xDelete(self, filename, syncdir):  # type: ignore[no-untyped-def]  # noqa: N802
        self.trace.append(Step("delete", Path(filename).name))
        super().xDelete(filename, syncdir)


class RecordedFile(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name, flags) -> None:  # type: ignore[no-untyped-def]
        self.recorder = recorder
        self.trace = recorder.trace
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__(recorder.base, name, flags)

    def xWrite(self, data, offset):  # type: ignore[no-untyped-def]  # noqa: N802
        self.trace.append(Step("write", self.name, offset, bytes(data), time.monotonic()))
        super().xWrite(data, offset)

    def xTruncate(self, size):  # type: ignore[no-untyped-def]  # noqa: N802
        self.trace.append(Step("truncate", self.name, size))
        super().xTruncate(size)

    def xSync(self, flags):  # type: ignore[no-untyped-def]  # noqa: N802
        self.recorder.sync(self.name)
        super().xSync(flags)
        self.trace.append(Step("sync", self.name, time=time.monotonic()))


@contextmanager
def recording() -> Iterator[Recorder]:
    before = apsw.vfs_names()[0]
    recorder = Recorder([])
    try:
        yield recorder
    finally:
        recorder.unregister()
        assert apsw.vfs_names()[0] == before


class Disk:
    """What is surely on the disk, and what is on its way."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.pending: dict[str, list[Step]] = {}

    def take(self, step: Step) -> None:
        if step.kind == "sync":
            for waiting in self.pending.pop(step.file, []):
                apply(self.files.setdefault(step.file, bytearray()), waiting)
        elif step.kind == "failed":  # the kernel calls these pages clean and never writes them again
            self.pending.pop(step.file, None)
        elif step.kind == "delete":
            self.files.pop(step.file, None)
            self.pending.pop(step.file, None)
        elif step.kind in ("write", "truncate"):
            self.pending.setdefault(step.file, []).append(step)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """The files as a power cut may leave them."""
        folder.mkdir()
        for name in {*self.files, *self.pending}:
            content = bytearray(self.files.get(name, b""))
            for step in self.pending.get(name, []):
                fate = chance.choice(("kept", "lost", "torn"))
                if fate == "kept":
                    apply(content, step)
                elif fate == "torn":
                    tear(content, step, chance)
            (folder / name).write_bytes(content)


def apply(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.at :]
        return
    content.extend(bytes(max(0, step.at - len(content))))
    content[step.at : step.at + len(step.data)] = step.data


def tear(content: bytearray, step: Step, chance: random.Random) -> None:
    """Some of the sectors of a write."""
    size = chance.choice(SECTORS)
    for start in range(0, len(step.data), size):
        if chance.random() < 0.5:
            apply(content, step._replace(at=step.at + start, data=step.data[start : start + size]))
