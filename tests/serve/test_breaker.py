"""A server that fails is left alone for longer and longer, and asked by one request at a time."""

from __future__ import annotations

from ultracore.distillation.serve.upstream.breaker import Breaker, RetryBudget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, pause_seconds=5.0, longest_seconds=20.0, clock=clock)
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.admit()
    assert not opened(Clock()).admit()


def test_after_the_pause_one_request_goes_and_the_others_wait_for_what_comes_of_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 4.9
    assert not breaker.admit()
    clock.now = 5.0
    assert breaker.admit()
    assert not breaker.ready
    assert not breaker.admit()
    breaker.abandoned()
    assert breaker.admit()
    breaker.succeeded()
    assert all(breaker.admit() for _ in range(3))


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.seconds_left)
        clock.now += breaker.seconds_left
        assert breaker.admit()
        breaker.failed()
    assert pauses == [5.0, 10.0, 20.0, 20.0, 20.0]
    clock.now += 20.0
    assert breaker.admit()
    breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    assert breaker.seconds_left == 5.0


def test_retries_that_help_are_free_and_those_that_do_not_run_out() -> None:
    budget = RetryBudget(reserve=3, earned=0.5)
    for _ in range(20):
        assert budget.spend()
        budget.succeeded(retried=True)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.succeeded(retried=False)
    assert not budget.spend()
    budget.succeeded(retried=False)
    assert budget.spend()
