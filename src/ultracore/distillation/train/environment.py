"""What a model's bytes depend on beside data and seed: versions, source, machine, and how BLAS computes.

Equal environments give equal bytes. Training therefore runs with one thread: several add up in an order
that depends on their number. What this file does not know: what is trained.
"""

from __future__ import annotations

import gc
import hashlib
import platform
import sys
from collections.abc import Callable
from functools import cache, wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

__all__ = ["differences", "environment", "one_thread", "uncollected", "versions"]

P = ParamSpec("P")
T = TypeVar("T")

PACKAGES = ("ultracore-distillation", "numpy", "scipy", "scikit-learn", "apsw")
SOURCE = Path(__file__).parents[1]
LEARNS = ("*.py", "curate/*.py", "train/*.py", "students/**/*.py")
"""Where a change may change a model; the gateway or a report cannot."""


def one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """The function with BLAS and OpenMP on one thread while it runs, whatever the process was told."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with threadpool_limits(limits=1):
            return function(*args, **kwargs)

    return run


def uncollected(function: Callable[P, T]) -> Callable[P, T]:
    """The function with the collector of reference cycles off while it runs.

    A fit makes millions of objects that stay and hardly a cycle: to look through them again and again took 3.8 of 60.5
    CPU seconds on tau-bench airline.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        was_on = gc.isenabled()
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            if was_on:
                gc.enable()

    return run


@one_thread
def environment() -> dict[str, Any]:
    """Versions of packages, a hash of this package's own source, the machine, and BLAS with its kernel and threads."""
    return {
        "versions": versions(),
        "source": _source(),
        "machine": f"{platform.system()} {platform.machine()}",
        "blas": [_library(found) for found in threadpool_info() if found["user_api"] == "blas"],
    }


def versions() -> dict[str, str]:
    """What a figure depends on beside data and seed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[name] = "unknown"
    return found


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In words, what is not as it was; two environments without differences make the same bytes.

    Example:
        >>> differences({"machine": "Linux x86_64"}, {"machine": "Linux aarch64"})
        ['machine: Linux x86_64 then, Linux aarch64 now']
    """
    old, new = _flat(then), _flat(now)
    return [
        f"{name}: {old.get(name, 'not recorded')} then, {new.get(name, 'none')} now"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _flat(value: dict[str, Any]) -> dict[str, str]:
    libraries = {entry["name"]: entry for entry in value.get("blas") or ()}
    parts = {"": value, **value, "blas": {name: _words(entry) for name, entry in libraries.items()}}
    return {
        f"{group} {name}".strip(): str(item)
        for group, entries in parts.items()
        if isinstance(entries, dict)
        for name, item in entries.items()
        if isinstance(item, str)
    }


def _words(library: dict[str, Any]) -> str:
    return f"{library['version']} for {library['kernel']}, {library['threads']} thread(s)"


def _library(found: dict[str, Any]) -> dict[str, Any]:
    name = Path(found["filepath"]).parent.name  # numpy and scipy bring one each
    return {
        "name": f"{name}/{found['internal_api']}",
        "version": found["version"],
        "kernel": found.get("architecture"),  # chosen by the kind of processor
        "threads": found["num_threads"],
    }


@cache
def _source() -> str:
    digest = hashlib.sha256()
    for file in sorted({file for pattern in LEARNS for file in SOURCE.glob(pattern)}):
        digest.update(f"{file.relative_to(SOURCE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
