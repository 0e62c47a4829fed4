"""Runs the gateway: uvicorn with httptools and uvloop, on loopback unless clients need a key.

What this file does not know: what the gateway does.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.guard import is_loopback
from ultracore.distillation.serve.recalling import RecallingProtocol
from ultracore.distillation.settings import Settings

__all__ = ["check_address", "configure", "serve"]

KEEP_ALIVE_SECONDS = 30
"""Longer than clients keep an idle connection (httpx: 5 s), so that the client is the one to close it."""

SWITCH_SECONDS = 0.0005
"""How long the student's thread may keep the interpreter from the event loop; Python's own 5 ms would be felt."""

COLLECTED = (10_000, 20, 50)
"""New objects until the collector looks, and its looks until it goes further back: requests leave few cycles, and what
is remembered of them (`recent.py`) was walked through again and again, which took one tenth of a recalled answer."""

GRACE_SECONDS = 10
"""For answers under way when the server is told to stop; audits then get 5 more."""


def serve(app: Starlette, settings: Settings, *, listener: socket.socket | None = None) -> None:
    """Serve until SIGINT or SIGTERM; answers under way are finished, new ones refused.

    Args:
        app: The gateway.
        settings: Where it listens.
        listener: A socket that listens already, shared with other processes.

    Raises:
        ConfigurationError: The address is not a loopback one, and there is no key.
    """
    config = configure(app, settings, keyed=app.state.ring.required)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays: the collector need not look through a student again and again
    gc.set_threshold(*COLLECTED)
    with _stopped_cleanly():
        uvicorn.Server(config).run(None if listener is None else [listener])


@contextmanager
def _stopped_cleanly() -> Iterator[None]:
    """SIGTERM ends the process as an exit does, with code 0.

    Uvicorn raises it again once it has finished. The signal's own action would end the process there and then, before
    the log has written what it was last given.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be listened to
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def configure(app: Starlette, settings: Settings, *, keyed: bool) -> uvicorn.Config:
    """How uvicorn is to run.

    Args:
        app: What it serves.
        settings: Where it listens.
        keyed: Whether clients must present a key.

    Raises:
        ConfigurationError: The address is not a loopback one, and there is no key.
    """
    check_address(settings, keyed=keyed)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=RecallingProtocol,
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=2048,
    )


def check_address(settings: Settings, *, keyed: bool) -> None:
    """Refuse to be reached from outside without a key.

    Raises:
        ConfigurationError: The address is not a loopback one, and there is no key.
    """
    if not is_loopback(settings.host) and not keyed:
        raise ConfigurationError(
            f"{settings.host} can be reached from outside: make a key for each client with `distill keys add NAME` "
            f"or set {settings.gateway_key_env}, or listen on 127.0.0.1"
        )
