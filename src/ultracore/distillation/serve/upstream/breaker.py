"""A teacher that fails again and again is left alone for a while, then tried with one request.

Also the budget of retries, so that a storm of failures is not multiplied.
What this file does not know: what counts as a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Breaker", "RetryBudget"]


class Breaker:
    """Closed, open, or half open (one probe under way).

    Args:
        failures: In a row, that open it.
        pause_seconds: How long it stays open first; twice as long after each probe that fails.
        longest_seconds: How long it stays open at most.
        clock: Seconds, monotonic.

    Example:
        >>> breaker = Breaker(failures=1, clock=lambda: 0.0)
        >>> breaker.failed()
        >>> breaker.admit(), breaker.seconds_left
        (False, 5.0)
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        pause_seconds: float = 5.0,
        longest_seconds: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = failures
        self._first_pause = self._pause = pause_seconds
        self._longest = longest_seconds
        self._clock = clock
        self._in_a_row = 0
        self._opened_until: float | None = None
        self._probing = False

    @property
    def seconds_left(self) -> float:
        """Until the next probe; 0 where a request may go."""
        return 0.0 if self._opened_until is None else max(0.0, self._opened_until - self._clock())

    @property
    def ready(self) -> bool:
        """Whether `admit` would say yes."""
        return self._opened_until is None or (self.seconds_left == 0.0 and not self._probing)

    def admit(self) -> bool:
        """Whether a request may go; after the pause, one at a time. Tell what came of it."""
        if self._opened_until is None:
            return True
        if not self.ready:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The server answered."""
        self._in_a_row, self._opened_until, self._probing = 0, None, False
        self._pause = self._first_pause

    def failed(self) -> None:
        """It did not, or with a failure of its own."""
        self._in_a_row += 1
        if self._probing:
            self._pause = min(2 * self._pause, self._longest)
        if self._probing or (self._opened_until is None and self._in_a_row >= self._threshold):
            self._opened_until = self._clock() + self._pause
        self._probing = False

    def abandoned(self) -> None:
        """Nothing was learned: the client went away first."""
        self._probing = False


class RetryBudget:
    """How many retries are affordable: those that help cost nothing, those that do not soon run out.

    A retry that succeeds is refunded, so a server that fails now and then is retried for ever; in a
    storm of failures a reserve is used up, and then requests are not multiplied.

    Args:
        reserve: Retries in a row that may fail.
        earned: What a request that succeeds at once adds, up to the reserve.

    Example:
        >>> budget = RetryBudget(reserve=1)
        >>> budget.spend(), budget.spend()
        (True, False)
    """

    def __init__(self, *, reserve: float = 10.0, earned: float = 0.1) -> None:
        self._reserve = self._left = reserve
        self._earned = earned

    def spend(self) -> bool:
        """Whether one more retry may be made."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def succeeded(self, *, retried: bool) -> None:
        """A request was answered, at once or after retries."""
        self._left = min(self._left + (1.0 if retried else self._earned), self._reserve)
