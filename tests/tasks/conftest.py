"""Small runs, as the tests of the training use them."""

from small_runs import assert_same_end, configure, own_cache, pairs, resume, runs, stop, text

__all__ = ["assert_same_end", "configure", "own_cache", "pairs", "resume", "runs", "stop", "text"]
