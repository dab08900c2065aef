"""The report of a study: its numbers, tables, charts and pages."""
