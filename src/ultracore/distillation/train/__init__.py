"""Stage 4: a student worth trusting."""
