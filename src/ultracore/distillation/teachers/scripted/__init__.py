"""A scripted bank: customers, tools, and a rule-based teacher; synthetic data for examples and tests."""
