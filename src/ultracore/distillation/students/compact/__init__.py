"""The default student: sparse text and structure, trained on a CPU in seconds, served by numpy alone."""
