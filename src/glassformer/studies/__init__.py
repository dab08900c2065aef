"""Studies: take a part out, train with several seeds, and say what it was for."""
