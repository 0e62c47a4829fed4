"""Packs blocks in a thread of its own, while the writer indexes the next ones: zstd leaves the interpreter free.

What this file does not know: where blocks go.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from ultracore.distillation.events.block import Block, Row, pack

__all__ = ["Packer"]


class Packer:
    """Started by the first call, ended by `close`; for one caller."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[list[Row], Future[Block]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def pack(self, rows: list[Row]) -> Future[Block]:
        """Their block, when it is ready."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="distill-pack", daemon=True)
            self._thread.start()
        future: Future[Block] = Future()
        self._queue.put((rows, future))
        return future

    def close(self) -> None:
        """Finish, and end the thread; another call of `pack` starts one again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            rows, future = item
            try:
                future.set_result(pack(rows))
            except Exception as error:  # noqa: BLE001 - raised again where the block is wanted
                future.set_exception(error)
