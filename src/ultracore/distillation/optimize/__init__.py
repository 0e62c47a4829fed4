"""Stage 3: better prompts."""
