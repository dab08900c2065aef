"""Scaling laws as objects, with their sources; and what is counted."""
