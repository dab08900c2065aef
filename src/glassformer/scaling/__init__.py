"""Scaling laws as objects, fits of them with honest intervals, and plans whose every number names its equation."""
