"""Where a figure comes from: the commit, the machine, how busy it was, and what it cost.

What this file does not know: the figures.
"""

from __future__ import annotations

import os
import platform
import resource
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ultracore.distillation.train.environment import versions
from ultracore.distillation.train.parallel import cores

__all__ = ["ROOT", "commit", "cpu_seconds", "measured"]

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def measured(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A dict that is complete when the `with` block ends: command, commit, date, machine, load and CPU seconds.

    Args:
        words: What follows `python -m benchmarks` on the command line.
    """
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks", *words]),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {cores()} cores, {platform.system()}",
        "versions": versions(),
        "load_before": round(os.getloadavg()[0], 1),
    }
    before = cpu_seconds()
    yield found
    found["cpu_seconds"] = round(cpu_seconds() - before)
    found["load_after"] = round(os.getloadavg()[0], 1)


def commit(root: Path = ROOT) -> str:
    """Short id of the measured commit, with `+changes` where the sources differ from it."""
    head = _git(root, "rev-parse", "--short", "HEAD")
    if not head:
        return "unknown (no git checkout)"
    return head + ("+changes" if _git(root, "status", "--porcelain", "--", "src") else "")


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _git(root: Path, *words: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # git itself is not installed
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
