"""Stage 2: keep what teaches."""
