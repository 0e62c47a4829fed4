"""The teacher: one or several servers that are asked in order, within deadlines, and again where that can help.

Addresses come from the configuration only, redirects are not followed, and a failure is told in our
own words, so that neither a key nor an address leaks through an exception's text. What this file
does not know: what is in a request or a reply, and who else could answer.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.upstream.breaker import RetryBudget
from ultracore.distillation.serve.upstream.calls import Attempt, Call, TeacherReply, UpstreamBroken
from ultracore.distillation.serve.upstream.chain import Chain
from ultracore.distillation.serve.upstream.prices import Prices
from ultracore.distillation.serve.upstream.servers import Server
from ultracore.distillation.serve.upstream.targets import Deadlines, Target, read_targets
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import Settings

__all__ = ["Upstream", "upstream_from_settings"]


class Upstream:
    """The servers of the teacher.

    Args:
        targets: The servers in the order in which they are asked; a URL stands for one that takes all models.
        key: Of that one.
        pass_authorization: Whether that one gets the client's `Authorization` instead.
        private: Whether the name of that one may lead into a private network.
        deadlines: Longest waits.
        prices: What their tokens cost.
        env: Where the keys of the targets are looked up.
        seed: Of the waits between attempts.

    Raises:
        ConfigurationError: A URL or a key cannot be used, a key is missing, or there is no target.
    """

    def __init__(
        self,
        targets: str | Sequence[Target],
        *,
        key: str | None = None,
        pass_authorization: bool = False,
        private: bool = False,
        deadlines: Deadlines | None = None,
        prices: Prices | None = None,
        env: Mapping[str, str] = os.environ,
        seed: int | None = None,
    ) -> None:
        if isinstance(targets, str):
            target = Target(url=targets, pass_authorization=pass_authorization, private=private)
            self._servers = [Server(target, key)]
        else:
            self._servers = [Server(target, _key(target, env)) for target in targets]
        if len({server.name for server in self._servers}) < len(self._servers) or not self._servers:
            raise ConfigurationError("name at least one server of the teacher, and each by another name")
        self.deadlines = deadlines or Deadlines()
        self.prices = prices or Prices()
        self._budget = RetryBudget()
        self._jitter = random.Random(seed)  # noqa: S311  nothing secret

    @property
    def pass_authorization(self) -> bool:
        """Whether a server gets the client's own key."""
        return any(server.target.pass_authorization for server in self._servers)

    @property
    def lent(self) -> int:
        """Connections in use."""
        return sum(server.pool.lent for server in self._servers)

    @property
    def left_alone(self) -> list[str]:
        """Names of the servers that failed too often and are not asked for a while."""
        return [server.name for server in self._servers if not server.breaker.ready]

    @asynccontextmanager
    async def ask(self, call: Call, attempts: list[Attempt]) -> AsyncIterator[TeacherReply]:
        """Ask until a reply begins that is worth passing on; the caller sets the deadline for it all.

        Args:
            call: What to ask.
            attempts: Gets every attempt, exactly once, whatever happens.

        Raises:
            RequestError: 404 for a path that leaves the base URL or a model that no server takes; 502, 503
                or 504 if no reply began.
        """
        servers = [server for server in self._servers if server.target.serves(call.model)]
        if not servers:
            raise RequestError(404, "no server is configured for this model", code="model_not_found")
        chain = Chain(call, servers, self.deadlines, self._budget, attempts, self._jitter)
        try:
            yield await chain.reply()
            chain.passed_on()
        except UpstreamBroken as broken:
            chain.broke(broken)
            raise
        finally:
            chain.end()

    async def aclose(self) -> None:
        """Close every connection."""
        for server in self._servers:
            server.pool.close()
        await asyncio.sleep(0)  # the event loop closes sockets in its next round


def upstream_from_settings(settings: Settings, env: Mapping[str, str] = os.environ) -> Upstream | None:
    """The teacher that the settings name, or `None`; keys are read from the environment.

    Raises:
        ConfigurationError: Both a URL and a file of targets are given, or one of them cannot be used.
    """
    if settings.upstreams is not None:
        if settings.upstream_url is not None:
            raise ConfigurationError("give upstream_url or upstreams (a file of targets), not both")
        file = read_targets(Path(settings.upstreams))
        return Upstream(file.target, deadlines=file.deadlines, prices=Prices(file.price), env=env)
    if settings.upstream_url is None:
        return None
    key = env.get(settings.upstream_key_env) or None
    return Upstream(settings.upstream_url, key=key, private=settings.upstream_private)


def _key(target: Target, env: Mapping[str, str]) -> str | None:
    if target.key_env is None:
        return None
    key = env.get(target.key_env)
    if not key:
        raise ConfigurationError(f"set {target.key_env}: it is to hold the key of {target.name or target.url}")
    return key
