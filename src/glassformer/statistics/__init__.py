"""Statistics that several rooms share: paired comparisons, sequential decisions, power, prediction intervals."""
