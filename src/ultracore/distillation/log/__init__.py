"""Stage 1: write decisions down."""
