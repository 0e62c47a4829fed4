"""Readers of other tools' trace files; each yields decisions, or reasons for skipping."""
