"""Laws fitted to runs, and how far a fit can be trusted."""
