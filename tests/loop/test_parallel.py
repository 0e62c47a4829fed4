from __future__ import annotations

import os
import time

import pytest

from ultracore.distillation.errors import DataError, DistillationError
from ultracore.distillation.train.parallel import background, cores


def test_a_result_comes_from_another_process() -> None:
    with background(os.getpid) as job:
        assert job.result() != os.getpid()


def test_without_a_second_core_the_work_is_done_here_and_only_when_asked_for() -> None:
    done: list[int] = []
    with background(done.append, 1, parallel=False) as job:
        assert not done
        assert not job.is_ready
        job.result()
    assert done == [1]


def test_leaving_the_block_ends_the_work() -> None:
    began = time.monotonic()
    with background(time.sleep, 60) as job:
        assert not job.is_ready
    assert time.monotonic() - began < 30


def test_a_foreseen_error_comes_back_as_itself() -> None:
    from ultracore.distillation.train.fit import fit_compact

    with background(fit_compact, []) as job, pytest.raises(DataError, match="no decisions"):
        job.result()


def test_a_process_that_dies_is_an_error() -> None:
    with background(os._exit, 3) as job, pytest.raises(DistillationError, match="without a result"):
        job.result()


def test_there_is_a_core() -> None:
    assert cores() >= 1
