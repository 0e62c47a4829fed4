"""Heavy work in a process of its own, with limits on time and memory: whatever a candidate does, the loop goes on.

The process is ended when its time is over, fails when it asks for more memory than it may, and ends with its parent.
What this file does not know: what the work is.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.autonomy.rules import Limits, PromotionRules
from ultracore.distillation.autonomy.work import Compared
from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.settings import Settings

__all__ = ["ChildBackend", "ChildError", "main"]

COMPACT = "ultracore.distillation.autonomy.backend:CompactBackend"
PROGRAM = "from ultracore.distillation.autonomy.child import main; main()"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FORESEEN, NO_LOG = 2, 3
MEGABYTE = 1024 * 1024


class ChildError(DistillationError):
    """The work in a child process failed; the message says how, and nothing of it was kept."""


class _Job(msgspec.Struct, frozen=True):
    """What a child is told."""

    work: str
    backend: str
    settings: Settings
    rules: PromotionRules
    limits: Limits


class ChildBackend:
    """A `TrainingBackend` whose work is done by children, one at a time.

    Args:
        settings: With the home folder.
        rules: Of promotion.
        limits: What a child may take.
        backend: `module:class` of the backend that the child opens.
    """

    def __init__(self, settings: Settings, rules: PromotionRules, limits: Limits, *, backend: str = COMPACT) -> None:
        self._settings, self._rules, self._limits, self._backend = settings, rules, limits, backend

    def train(self) -> dict[str, Any]:
        """See `TrainingBackend.train`.

        Raises:
            ChildError: It raised, hung, was killed, or took too much memory.
            LogError: The log failed it.
        """
        return msgspec.json.decode(self._run("train"), type=dict[str, Any])

    def compare(self) -> Compared:
        """See `TrainingBackend.compare`.

        Raises:
            ChildError, LogError: As for `train`.
        """
        return msgspec.json.decode(self._run("compare"), type=Compared)

    def _run(self, work: str) -> bytes:
        limits = self._limits
        job = _Job(work, self._backend, self._settings, self._rules, limits)
        environment = {**dict.fromkeys(THREADS, "1"), **os.environ}
        command = [sys.executable, "-c", PROGRAM, msgspec.json.encode(job).decode()]
        process = subprocess.Popen(  # noqa: S603  our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            said, complaint = _wait(process, limits.seconds)
        except subprocess.TimeoutExpired:
            raise ChildError(f"{work}: ended after {limits.seconds:g} s, the time that it may take") from None
        finally:
            _end(process)
        if process.returncode == NO_LOG:
            raise LogError(f"{work}: {_why(NO_LOG, complaint)}")
        if process.returncode != 0:
            raise ChildError(f"{work}: {_why(process.returncode, complaint)}")
        return said.splitlines()[-1] if said else b"{}"


def main() -> None:
    """In the child: do the work, and print what came of it as the last line."""
    from ultracore.distillation.serve.workers import end_with_parent

    job = msgspec.json.decode(sys.argv[1], type=_Job)
    resource.setrlimit(resource.RLIMIT_AS, (job.limits.megabytes * MEGABYTE,) * 2)
    os.nice(job.limits.nice)
    end_with_parent()
    module, _, name = job.backend.partition(":")
    try:
        shop = getattr(import_module(module), name)(Path(job.settings.home), job.settings, job.rules)
        found = shop.train() if job.work == "train" else shop.compare()
    except DistillationError as error:
        print(str(error), file=sys.stderr)
        sys.exit(NO_LOG if isinstance(error, LogError) else FORESEEN)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
    """As `communicate`, but its standard input stays open: the child ends when that closes."""
    kept, process.stdin = process.stdin, None
    try:
        return process.communicate(timeout=seconds)
    finally:
        process.stdin = kept


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of the process and of those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:  # macOS says so of a group that is gone
        pass
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _why(code: int, complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    last = lines[-1][:500] if lines else ""
    if code in (FORESEEN, NO_LOG):
        return last
    if "MemoryError" in last or "allocate" in last:
        return "asked for more memory than it may have"
    if code < 0:
        return f"killed by signal {-code}"
    return f"failed: {last.partition(':')[0] or code}"  # the message of an unforeseen error may hold somebody's data
