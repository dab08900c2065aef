"""Small runs, for what is measured of a run."""

from small_runs import assert_same_end, configure, own_cache, pairs, resume, runs, stop, text

__all__ = ["assert_same_end", "configure", "own_cache", "pairs", "resume", "runs", "stop", "text"]
