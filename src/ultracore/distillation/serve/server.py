"""Runs the gateway: uvicorn with httptools and uvloop, on loopback unless clients need a key.

What this file does not know: what the gateway does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import uvicorn
from starlette.types import ASGIApp

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.guard import is_loopback
from ultracore.distillation.settings import Settings

__all__ = ["configure", "serve"]

GRACE_SECONDS = 10
"""For answers under way when the server is told to stop; audits then get 5 more."""


def serve(app: ASGIApp, settings: Settings, env: Mapping[str, str] = os.environ) -> None:
    """Serve until SIGINT or SIGTERM; answers under way are finished, new ones refused.

    Raises:
        ConfigurationError: The address is not a loopback one, and no key is set.
    """
    uvicorn.Server(configure(app, settings, env)).run()


def configure(app: ASGIApp, settings: Settings, env: Mapping[str, str] = os.environ) -> uvicorn.Config:
    """How uvicorn is to run.

    Raises:
        ConfigurationError: The address is not a loopback one, and no key is set.
    """
    if not is_loopback(settings.host) and not env.get(settings.gateway_key_env):
        raise ConfigurationError(
            f"{settings.host} can be reached from outside: set {settings.gateway_key_env} to a key that clients "
            "must present, or listen on 127.0.0.1"
        )
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
