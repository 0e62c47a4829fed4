"""Formats that decisions are read from; each importer yields a decision or the reason why it skips one."""
