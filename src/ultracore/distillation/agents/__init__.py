"""The four agents, thin: one stage in, one event out."""
