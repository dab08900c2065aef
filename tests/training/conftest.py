"""Small runs to train, stop and resume."""

from small_runs import assert_same_end, configure, own_cache, pairs, resume, runs, stop, text

__all__ = ["assert_same_end", "configure", "own_cache", "pairs", "resume", "runs", "stop", "text"]
