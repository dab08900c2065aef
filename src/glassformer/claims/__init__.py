"""Claims that are made about Transformers, each put to the test: one file for each, and a verdict from its numbers."""
