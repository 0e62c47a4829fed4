"""How much one key may ask (a rate, with a minute's worth of burst, and a number at once), and a tenant at once.

Each worker process counts for itself. What this file does not know: who holds the key, and what is asked.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

from ultracore.distillation.serve.keys import Key
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Limits"]


class _Use:
    """What one key has left."""

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.since = now
        self.running = 0


class Limits:
    """Counts the requests of each key.

    Args:
        most: Requests of one tenant under way, whichever its keys.
        clock: Seconds, never backwards.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._running: Counter[str] = Counter()
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def enter(self, key: Key, *, always: bool = False) -> None:
        """Begin a request; `leave` ends it.

        Args:
            key: Whose it is.
            always: Whether it is let in however many are under way, as what an operator asks.

        Raises:
            RequestError: 429 for the key, 503 for its tenant; with the seconds to wait.
        """
        if self._running[key.tenant] >= self._most and not always:
            message = "too many requests are under way"
            raise RequestError(503, message, code="overloaded", headers={"retry-after": "1"})
        if key.requests_per_minute is not None or key.concurrent is not None:
            self._count(key)
        self._running[key.tenant] += 1

    def leave(self, key: Key) -> None:
        """End a request that `enter` let in."""
        self._running[key.tenant] -= 1
        if key.key_id in self._uses:
            self._uses[key.key_id].running -= 1

    def _count(self, key: Key) -> None:
        use = self._uses.setdefault(key.key_id, _Use(float(key.requests_per_minute or 0), self._clock()))
        if key.concurrent is not None and use.running >= key.concurrent:
            raise _too_many("this key has too many requests under way", 1)
        if key.requests_per_minute is not None:
            self._spend(use, key.requests_per_minute)
        use.running += 1

    def _spend(self, use: _Use, per_minute: int) -> None:
        now = self._clock()
        use.tokens = min(float(per_minute), use.tokens + (now - use.since) * per_minute / 60)
        use.since = now
        if use.tokens < 1:
            wait = (1 - use.tokens) * 60 / per_minute if per_minute else 60
            raise _too_many("this key asks too often", math.ceil(wait))
        use.tokens -= 1


def _too_many(message: str, seconds: int) -> RequestError:
    return RequestError(429, message, code="rate_limit_exceeded", headers={"retry-after": str(seconds)})
