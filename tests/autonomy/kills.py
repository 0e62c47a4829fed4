"""Kill the loop at any moment of train -> register -> promote -> revoke -> roll back, and look at what is left.

    python kills.py FOLDER TRIALS

A program of its own, so that it may fork before anything has opened a log. Each trial copies a prepared home, does the
work in a fork that a timer kills without warning, and looks in another fork. It prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
from benchmarks.autonomy import PROMOTION, RETRAINING, World

from ultracore.distillation.events import CertificateRevokedEvent, RetrainTriggeredEvent
from ultracore.distillation.students.models import model_states

DIRECT = msgspec.structs.replace(PROMOTION, canary_share=0.0, least_units=20, error_margin=0.2, coverage_margin=0.5)
SMALL = msgspec.structs.replace(RETRAINING, first_decisions=200, after_change=50, least_hours=1000.0)
DONE, SPOILT = 0, 3


def prepare(folder: Path) -> None:
    """A model that answers, traffic enough to compare another with, and a training that is asked for."""
    world = opened(folder)
    while world.registry.active_id() is None:
        world.talk(10)
        world.round()
    world.close()


def opened(folder: Path) -> World:
    """The world goes on: later than anything in its log, with other conversations."""
    world = World(folder, seed=len(list(folder.iterdir())), promotion=DIRECT, retraining=SMALL)
    world.now += timedelta(minutes=world.store.last_position())
    return world


def work(folder: Path) -> None:
    """Train and promote a second model, revoke it, and let the loop roll back."""
    world = opened(folder)
    good = world.registry.active_id()
    world.store.append([RetrainTriggeredEvent.record(model_id=good or "", reason="scheduled", clock=world.clock)])
    for _ in range(5):
        world.talk(8)
        world.round()
    active = world.registry.active_id()
    assert active != good, "nothing was promoted: the trial would show less than it says"
    world.store.append([CertificateRevokedEvent.record(model_id=active or "", reason="audits", clock=world.clock)])
    world.round()
    assert world.registry.active_id() == good
    world.close()


def look(folder: Path) -> None:
    """At a restart: at most one active model, and it loads; after one round exactly one."""
    world = opened(folder)
    for rounds in (0, 1):
        if rounds:
            world.round()
        active = [m.model_id for m in model_states(world.store) if m.active]
        assert len(active) <= 1, active
        if active:
            found = world.registry.active()
            assert found is not None
            assert found.certificate.model_id == found.student.model_id == active[0]
    assert len(active) == 1, [tuple(m) for m in model_states(world.store)]
    world.close()


def forked(task: Callable[[Path], None], folder: Path, kill_after: float | None = None) -> int:
    """The exit code of a task in a fork; negative where a signal ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        if kill_after is not None:
            signal.setitimer(signal.ITIMER_REAL, kill_after)  # nobody handles SIGALRM: the process is gone
        task(folder)
        os._exit(DONE)
    except BaseException:  # noqa: BLE001  told by the exit code
        import traceback

        traceback.print_exc()
        os._exit(SPOILT)


def main(folder: Path, trials: int) -> None:
    base = folder / "base"
    base.mkdir(parents=True)
    assert forked(prepare, base) == DONE
    draw, killed, left = random.Random(0), 0, []
    whole = folder / "whole"
    shutil.copytree(base, whole)
    began = time.perf_counter()
    assert forked(work, whole) == DONE
    seconds = time.perf_counter() - began
    for trial in range(trials):
        home = folder / f"trial-{trial}"
        shutil.copytree(base, home)
        killed += forked(work, home, draw.uniform(0.02, seconds)) == -signal.SIGALRM
        if forked(look, home) != DONE:
            left.append(trial)
        shutil.rmtree(home)
    print(json.dumps({"killed": killed, "spoilt": left, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
