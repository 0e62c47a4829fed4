"""What a run found, as a table for the terminal and as one page for the browser."""
