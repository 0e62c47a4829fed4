"""Stage 5: answer, or hand over."""
