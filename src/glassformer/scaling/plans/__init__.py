"""From a budget to a run, every number traced."""
