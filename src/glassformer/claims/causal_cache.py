"""Earlier logits under a causal mask, compared before and after later tokens are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import MODEL, build, equal, random_tokens, relative, relative_measurement

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "none")
EQUALS = ("causal", "cached")
SPLIT = 15  # tokens that are there first; the cache is filled with them, then continued token by token


def measure(seed: int) -> dict[str, float]:
    """Relative differences, over all position encodings: the largest of EQUALS, the smallest of the others.

    "in batch statistics" is of a model with BatchNorm in training, "sliding" of a window without its first token.
    """
    found: dict[str, list[float]] = {
        "causal": [],
        "cached": [],
        "not causal": [],
        "in batch statistics": [],
        "sliding": [],
    }
    for kind in POSITIONS:
        config = MODEL.override({"positions.kind": kind})
        model, tokens = build(config, seed), random_tokens(config, seed)
        with torch.no_grad():
            whole = model(tokens)
            found["causal"].append(relative(model(tokens[:, :SPLIT]), whole[:, :SPLIT]))
            cache = model.make_cache(len(tokens))
            pieces = [model(tokens[:, :SPLIT], cache=cache)]
            pieces += [model(tokens[:, at : at + 1], cache=cache) for at in range(SPLIT, tokens.shape[1])]
            found["cached"].append(relative(torch.cat(pieces, dim=1), whole))
            found["sliding"].append(relative(model(tokens[:, 1:]), whole[:, 1:]))
            model.causal = False
            found["not causal"].append(relative(model(tokens[:, :SPLIT]), model(tokens)[:, :SPLIT]))
            batch = build(config.override({"norm.kind": "batchnorm"}), seed).train()
            found["in batch statistics"].append(relative(batch(tokens[:, :SPLIT]), batch(tokens)[:, :SPLIT]))
    return {name: (max if name in EQUALS else min)(values) for name, values in found.items()}


def judge(found: Mapping[str, float]) -> ClaimResult:
    """Equal with the mask, equal from the cache, and not equal without the mask (thresholds of ``exactness.py``)."""
    causal, cached, not_causal = (found[name] for name in ("causal", "cached", "not causal"))
    unmasked = equal(not_causal)
    return ClaimResult(
        {
            "with a causal mask, earlier logits do not change when tokens are added": equal(causal),
            "logits computed from a cache equal those computed anew": equal(cached),
            "without the mask, earlier logits change": None if unmasked is None else not unmasked,
        },
        f"With the mask the logits of {SPLIT} tokens differ by at most {causal:.1e} (relative, float64) from those of "
        f"the same tokens in a longer text, and logits computed token by token from the cache by at most "
        f"{cached:.1e}; without the mask they differ by {not_causal:.2g} or more.",
        "It holds for learned, sinusoidal, rotary, ALiBi and no positions. It does not hold for BatchNorm in "
        f"training, which mixes tokens through its statistics (they differ by {found['in batch statistics']:.2g} or "
        "more), nor once the window slides: without the first token the logits of the others differ by "
        f"{found['sliding']:.2g} or more, so a cache must be filled again.",
        {
            "largest difference with the mask": relative_measurement(causal),
            "largest difference from the cache": relative_measurement(cached),
            "smallest difference without the mask": relative_measurement(not_causal),
            "smallest difference of BatchNorm in training": relative_measurement(found["in batch statistics"]),
            "smallest difference when the window slides": relative_measurement(found["sliding"]),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all seeds."""
    found = [measure(seed) for seed in range(budget.seeds)]
    return judge({name: (max if name in EQUALS else min)(each[name] for each in found) for name in found[0]})


CLAIM = Claim(
    "causal-cache",
    "With a causal mask earlier logits do not change, so they can be cached; without it they do.",
    NOTES,
    "exact",
    "The logits of a text's beginning, alone and followed by more; and token by token from the cache.",
    decide,
    quick=Budget(seeds=3),
    full=Budget(seeds=30),
    could_be_wrong=(
        (
            "Exact of this implementation, in float64 and in evaluation; in bfloat16 a cache's logits round "
            "differently, and a token near a tie may change."
        ),
        "Dense attention with one mask; a sparse pattern that depends on the length is not measured.",
    ),
)
