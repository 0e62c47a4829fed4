"""Connections to one server: made when needed, used again, never more than a limit.

A slot is given back by a synchronous `give`, so no cancellation can lose one. What this file does
not know: what is asked over a connection.
"""

from __future__ import annotations

import asyncio
import ssl

from ultracore.distillation.serve.upstream.addresses import Destination, addresses_of
from ultracore.distillation.serve.upstream.connection import Connection
from ultracore.distillation.serve.upstream.slots import Slots

__all__ = ["Pool", "PoolFull"]

LIMIT = 256
IDLE_SECONDS = 30.0
"""A connection idle for longer is not used again; load balancers close theirs after 60 s and more."""


class PoolFull(Exception):  # noqa: N818  what happened
    """No slot became free in time."""


class Pool:
    """Lends connections.

    Args:
        destination: The server.
        limit: Connections at a time; more wait.
        tls: How to verify the server; the system's authorities by default.
    """

    def __init__(self, destination: Destination, *, limit: int = LIMIT, tls: ssl.SSLContext | None = None) -> None:
        self._destination = destination
        self._slots = Slots(limit)
        self._idle: list[Connection] = []
        self._lent = 0
        self._tls = (tls or ssl.create_default_context()) if destination.tls else None

    @property
    def lent(self) -> int:
        """Connections in use."""
        return self._lent

    async def take(
        self, tenant: str, slot_seconds: float, connect_seconds: float, *, fresh: bool = False
    ) -> Connection:
        """A connection, to be given back with `give`.

        Args:
            tenant: Who wants it; where many wait, tenants are served by turns.
            slot_seconds: Longest wait for a slot.
            connect_seconds: Longest wait for a new connection.
            fresh: Do not use one that has waited: the server may have closed it.

        Raises:
            PoolFull: No slot became free in time.
            OSError: The server cannot be reached (`TimeoutError`: not in time), or TLS failed.
        """
        await self._slot(tenant, slot_seconds)
        try:
            connection = None if fresh else self._waiting()
            if connection is None:
                connection = await self._connect(connect_seconds)
        except BaseException:
            self._slots.give()
            raise
        self._lent += 1
        return connection

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that cannot be used again is closed."""
        self._lent -= 1
        self._slots.give()
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what waits."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _slot(self, tenant: str, seconds: float) -> None:
        if not self._slots.full:  # a deadline costs more than a slot that is free
            return await self._slots.take(tenant)
        try:
            async with asyncio.timeout(seconds):
                await self._slots.take(tenant)
        except TimeoutError:
            raise PoolFull from None

    def _waiting(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()  # the last used: the others may grow old and be closed
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, seconds: float) -> Connection:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            addresses = await addresses_of(self._destination)
        seconds -= asyncio.get_running_loop().time() - began
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                async with asyncio.timeout(seconds / len(addresses)):  # a dead IPv6 route leaves time for IPv4
                    return await self._connect_to(address)
            except OSError as error:  # a TimeoutError is one
                failure = error
        raise failure

    async def _connect_to(self, address: str) -> Connection:
        loop, destination = asyncio.get_running_loop(), self._destination
        _, connection = await loop.create_connection(
            Connection,
            address,
            destination.port,
            ssl=self._tls,
            server_hostname=destination.host if self._tls else None,
        )
        return connection
