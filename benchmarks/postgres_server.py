"""A real PostgreSQL of one's own: in a temporary folder, on a Unix socket, as an unprivileged user, with fsync on.

Tests and benchmarks start it and stop it by its process id. What this file does not know: the log.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["NoServerError", "PostgresServer", "find_programs"]

DEBIAN = Path("/usr/lib/postgresql")
PATIENCE_SECONDS = 60.0
OWNER = "distill"


class NoServerError(Exception):
    """No PostgreSQL server is installed here."""


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`: the newest of Debian's, else the one on the path.

    Raises:
        NoServerError: There is none; the message says how to install one.
    """
    folders = sorted((f for f in DEBIAN.glob("*/bin") if f.parent.name.isdigit()), key=lambda f: int(f.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(folders), *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoServerError("no PostgreSQL server is installed (Debian: apt-get install postgresql)")


class PostgresServer:
    """A server that lives as long as a `with` block.

    Args:
        **settings: Settings of the server, such as `shared_buffers="1GB"`; defaults are its own.

    Raises:
        NoServerError: No server is installed.
    """

    def __init__(self, **settings: str) -> None:
        self.programs = find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="distill-pg-"))
        self.settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            if os.getuid() == 0:
                shutil.chown(self.folder, _unprivileged())
            words = ["-D", self.folder / "data", "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            self.run("initdb", *words)
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.crash()  # nothing is to be kept, so no checkpoint is waited for
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """How a client reaches a database of this server."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers; after a crash it recovers first."""
        words = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [self.programs / "postgres", "-D", self.folder / "data", *words]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as())
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        ready = [self.programs / "pg_isready", "-q", "-h", self.folder, "-d", "postgres"]
        while subprocess.run(ready).returncode != 0:
            if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    @contextlib.contextmanager
    def restarted(self, **settings: str) -> Iterator[None]:
        """Run it with other settings for a while."""
        before = self.settings
        for wanted in ({**before, **settings}, before):
            self.crash()
            self.settings = wanted
            self.start()
            if wanted is not before:
                yield

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; `SIGQUIT` is a crash: no checkpoint is written, all connections break."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(how)
            process.wait(PATIENCE_SECONDS)

    def crash(self) -> None:
        """Stop it as a crash would."""
        self.stop(signal.SIGQUIT)

    def cpu_seconds(self) -> float:
        """CPU seconds of the server's processes, those that have ended included."""
        found = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.pid:
                    found += int(fields[11]) + int(fields[12])
                elif stat.parent.name == str(self.pid):
                    found += sum(map(int, fields[11:15]))
        return found / os.sysconf("SC_CLK_TCK")

    def run(self, program: str, *words: object) -> str:
        """Run one of the server's programs and give its output."""
        command = [str(self.programs / program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as())
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout

    @staticmethod
    def _as() -> dict[str, Any]:
        """The server refuses to run as root."""
        if os.getuid() != 0:
            return {}
        account = pwd.getpwnam(_unprivileged())
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _unprivileged() -> str:
    names = {account.pw_name for account in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
