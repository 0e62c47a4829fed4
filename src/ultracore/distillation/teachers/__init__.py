"""Models that decide: remote ones, and scripted ones for examples and tests."""
