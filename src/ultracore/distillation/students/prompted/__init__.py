"""Students that read a prompt: its text decides what they do, and every version of it is in the log."""
