"""Connections on which what is known by heart is answered at once, between the requests that take the long way.

A connection has one request under way, on one way or the other. What comes meanwhile waits, and is read when the
answer has left; a client that hangs up before is told of in the log. What this file does not know: what is answered.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from ultracore.distillation.errors import LogError
from ultracore.distillation.serve.headers import lines_of
from ultracore.distillation.serve.protocol import BoundedProtocol
from ultracore.distillation.serve.recall import Recalled
from ultracore.distillation.serve.whole import Front

__all__ = ["RecallingProtocol"]


class RecallingProtocol(BoundedProtocol):
    """`BoundedProtocol` with a way past it."""

    _under_way: Recalled | None = None
    _piece: bytes | None = None
    _early = b""
    _last = False
    _idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Answer by heart, or pass on."""
        if self._under_way is not None:
            self._wait(data)
            return
        front = self._front
        if front is None or not self._at_rest:
            super().data_received(data)
            return
        if self._recalls(front, data):
            return
        self._piece = data
        try:
            super().data_received(data)
        finally:
            self._piece = None

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer under way finds the connection closed, and is noted as such."""
        self._early = b""
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish the answer under way, then close."""
        if self._under_way is None:
            super().shutdown()
        else:
            self._last = True

    @property
    def _at_rest(self) -> bool:
        """Whether the next byte begins a request, and nothing is yet to be answered or to be sent."""
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is None or (cycle.response_complete and not cycle.more_body)
        half_a_head = self._deadline is not None and self._head_bytes > 0
        return answered and not half_a_head and not self._refused and not self.flow.write_paused

    def _recalls(self, front: Front, data: bytes) -> bool:
        found = front.heads.find(data) if front.recall.possible else None
        recalled = None if found is None else front.recall.ask(*found)
        if recalled is None:
            return False
        self._disarm()
        self._under_way = recalled
        front.recall.write(recalled, partial(self._written, front, recalled))
        return True

    def _start_whole(self, cycle: RequestResponseCycle, front: Front) -> None:
        if self._piece is not None:
            front.heads.learn(self._piece, cycle)
        super()._start_whole(cycle, front)

    def _wait(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def _written(self, front: Front, recalled: Recalled, refusal: LogError | None) -> None:
        self._under_way = None
        there = not self.transport.is_closing()
        if refusal is not None:
            reply = front.recall.refused(recalled)
            if there:
                self._send(*reply)
        else:
            if there:
                self._send(STATUS_LINE[200], recalled.answer.lines, recalled.answer.body)
            front.recall.sent(recalled, there)
        self._go_on()

    def _send(self, status: bytes, lines: bytes, body: bytes) -> None:
        own: Any = self.server_state.default_headers
        close = b"connection: close\r\n" if self._last else b""
        self.transport.write(b"%s%s%s%s\r\n%s" % (status, lines_of(own), lines, close, body))

    def _go_on(self) -> None:
        """As after every answer: close, read what came meanwhile, or wait for the next request."""
        self.server_state.total_requests += 1
        if self._last:
            self.transport.close()
        if self.transport.is_closing():
            return
        early, self._early = self._early, b""
        self.flow.resume_reading()
        if early:
            self.data_received(early)
        else:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._close_if_idle()

    def _close_if_idle(self) -> None:
        """One timer a connection, which looks when the last answer left: one for each would cost more than a parser."""
        self.timeout_keep_alive_task = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._under_way is not None:
            return
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()
