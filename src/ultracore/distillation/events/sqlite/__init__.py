"""The embedded decision log: one SQLite file of chained blocks. What it does not know: what events mean."""

from ultracore.distillation.events.sqlite.store import SqliteEventStore

__all__ = ["SqliteEventStore"]
