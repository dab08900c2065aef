"""Models without positions: a causal language model, and a translator whose encoder is not causal.

A language model cannot be without its mask, or it would see what it is to predict. So the non-causal half is decided on
an encoder-decoder without any positions: to its encoder a sentence is a bag of tokens. It is to *copy* six symbols,
which takes their order, and to *sort* them, which does not. Knowing the bag alone, the right copy is one of
6!/Π n_i! orders: that is the floor of the loss, computed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glassformer import places
from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import difference, mean_exceeds, mean_over_seeds, signed, worded
from glassformer.runs.files import replace_durably
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE

WITHOUT = "without positions"
VARIANTS = {WITHOUT: {"model.positions.kind": "none"}}

SYMBOLS, LENGTH, PAIRS = "abcdefgh", 6, 20_000
TASKS = ("copy", "sort")

NEAR = 0.05
"""Nats below the floor of the bag of tokens at which some of the order must have been learned."""

SOLVED = 0.1
"""Nats per token below which a task whose answers are certain is solved."""

TRANSLATOR: dict[str, Any] = {
    "data.tokenizer": "words",
    "data.max_length": 16,
    "model.max_seq_len": 16,
    "model.d_model": 64,
    "model.n_layers": 1,
    "model.n_encoder_layers": 1,
    "model.feedforward.d_ff": 128,
    "model.dropout": 0.0,
    "model.positions.kind": "learned",
    "training.batch_size": 64,
    "training.batch_tokens": None,
    "training.label_smoothing": 0.0,
    "training.optimizer.kind": "adamw",
}


def pairs(task: str) -> Path:
    """A file of pairs, made once: LENGTH symbols, and the same copied or sorted."""
    path = places.cache_folder() / "claims" / f"{task}-{LENGTH}-of-{len(SYMBOLS)}.tsv"
    if not path.is_file():
        draw = np.random.default_rng(0)
        lines = []
        for _ in range(PAIRS):
            source = [SYMBOLS[index] for index in draw.integers(len(SYMBOLS), size=LENGTH)]
            lines.append(f"{' '.join(source)}\t{' '.join(sorted(source) if task == 'sort' else source)}\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, "".join(lines).encode())
    return path


def bag_floor() -> float:
    """Mean of ln(LENGTH!/Π n_i!), in nats per token, the end token counted: what is open to whoever knows the bag.

    n_i, how often a symbol comes, is binomial.
    """
    p = 1 / len(SYMBOLS)
    repeats = sum(math.comb(LENGTH, n) * p**n * (1 - p) ** (LENGTH - n) * math.lgamma(n + 1) for n in range(LENGTH + 1))
    return (math.lgamma(LENGTH + 1) - len(SYMBOLS) * repeats) / (LENGTH + 1)


def judge(
    causal: Mapping[str, Losses],
    tasks: Mapping[str, Mapping[str, Losses]],
    bigram: float,
    evidence: tuple[Path, ...] = (),
) -> ClaimResult:
    """Nothing is learned if the loss is above what takes no order: the bigram entropy, the bag's floor, SOLVED."""
    floor = bag_floor()
    text = mean_over_seeds(causal[WITHOUT].values())
    copying, sorting = (mean_over_seeds(tasks[task][WITHOUT].values()) for task in TASKS)
    cost = difference(causal[BASE], causal[WITHOUT])
    return ClaimResult(
        {
            "a causal language model learns nothing beyond the last token": mean_exceeds(causal[WITHOUT], bigram),
            "a non-causal encoder learns nothing of the order (copying)": mean_exceeds(
                tasks["copy"][WITHOUT], floor - NEAR
            ),
            "a non-causal encoder learns nothing where the order does not matter (sorting)": mean_exceeds(
                tasks["sort"][WITHOUT], SOLVED
            ),
        },
        f"Without positions a causal language model ends at {worded(text)} nats (the bigram entropy is "
        f"{bigram:.3f}), {signed(cost)} from the model with them. To a non-causal encoder a sentence without "
        f"positions is a bag of tokens: copying ends at {worded(copying)} nats, where the bag alone leaves "
        f"{floor:.3f} open, and sorting at {worded(sorting, '.4f')} nats.",
        "The causal mask conveys positions, since each token attends to a different number of tokens; without a mask "
        "and positions, attention is permutation-equivariant.",
        {
            "causal: loss with positions": mean_over_seeds(causal[BASE].values()),
            "causal: loss without": text,
            "causal: cost": cost,
            "bigram entropy of the text": measurement(bigram, "nats"),
            "copying: loss with positions": mean_over_seeds(tasks["copy"][BASE].values()),
            "copying: loss without": copying,
            "copying: loss of who knows the bag of tokens": measurement(floor, "nats"),
            "sorting: loss with positions": mean_over_seeds(tasks["sort"][BASE].values()),
            "sorting: loss without": sorting,
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of the language model, and one of each task."""
    text = claim_studies.study("claim-no-position", claim_studies.base(budget), VARIANTS, budget)
    studies = {}
    for task in TASKS:
        base = claim_studies.base(budget, TRANSLATOR, model="transformer-tiny", data=str(pairs(task)))
        studies[task] = claim_studies.study(f"claim-no-position-{task}", base, VARIANTS, budget)
    return judge(
        text.losses(),
        {task: study.losses() for task, study in studies.items()},
        claim_studies.entropies(text)["bigram"],
        tuple(study.path for study in (text, *studies.values())),
    )


CLAIM = Claim(
    "no-position",
    "Without positions nothing is learned.",
    NOTES,
    "study",
    "A causal language model, and an encoder-decoder that copies and sorts, with positions and without.",
    decide,
    quick=Budget(seeds=3, steps=600),
    full=Budget(seeds=8, steps=2_000),
)
