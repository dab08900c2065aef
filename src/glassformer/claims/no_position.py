"""Models without positions: a causal language model, and a translator whose encoder is not causal.

A language model cannot be without its mask, or it would see what it is to predict. So the non-causal half is decided on
an encoder-decoder without any positions: to its encoder a sentence is a bag of tokens. It is to *copy* six symbols,
which takes their order, and to *sort* them, which does not. Knowing the bag alone, the right copy is one of
6!/Π n_i! orders: that is the floor of the loss, computed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassformer import places
from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.exactness import MODEL, build_translator, random_tokens, relative, relative_measurement
from glassformer.claims.judging import mean_exceeds, mean_over_seeds, signed, worded
from glassformer.claims.one_layer import FULL, QUICK
from glassformer.claims.tuned import TunedArms, tuned_arms
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
    causal: TunedArms,
    tasks: Mapping[str, Mapping[str, Losses]],
    bigram: float,
    equivariance: float,
    evidence: tuple[Path, ...] = (),
) -> ClaimResult:
    """Nothing is learned if the loss is above what takes no order: the bigram entropy, the bag's floor, SOLVED.

    Args:
        causal: the language model, each arm at its own best learning rate.
        tasks: of the encoder-decoder, by task and arm.
        equivariance: how far an encoder's outputs for a permuted sentence are from its permuted outputs.
    """
    floor = bag_floor()
    text = mean_over_seeds(causal.losses[WITHOUT].values())
    copying, sorting = (mean_over_seeds(tasks[task][WITHOUT].values()) for task in TASKS)
    cost = causal.cost(WITHOUT)
    return ClaimResult(
        {
            "a causal language model learns nothing beyond the last token": mean_exceeds(
                causal.losses[WITHOUT], bigram
            ),
            "a non-causal encoder learns nothing of the order (copying)": mean_exceeds(
                tasks["copy"][WITHOUT], floor - NEAR
            ),
            "a non-causal encoder learns nothing where the order does not matter (sorting)": mean_exceeds(
                tasks["sort"][WITHOUT], SOLVED
            ),
        },
        f"Without positions a causal language model ends, at its own best learning rate, at {worded(text)} nats (the "
        f"bigram entropy is {bigram:.3f}), {signed(cost)} from the model with them. To a non-causal encoder a "
        f"sentence without positions is a bag of tokens: copying ends at {worded(copying)} nats, where the bag alone "
        f"leaves {floor:.3f} open, and sorting at {worded(sorting, '.4f')} nats.",
        "By the causal mask a token knows which tokens came before it, though not in which order. Without a mask and "
        "positions, attention is permutation-equivariant: the outputs of a permuted sentence are the permuted outputs "
        f"(to {equivariance:.1g}).",
        {f"causal: {name}": each for name, each in causal.numbers().items()}
        | {
            "encoder: outputs of a permuted sentence, from the permuted outputs": relative_measurement(equivariance),
            "bigram entropy of the text": measurement(bigram, "nats"),
            "copying: loss with positions": mean_over_seeds(tasks["copy"][BASE].values()),
            "copying: loss without": copying,
            "copying: loss of who knows the bag of tokens": measurement(floor, "nats"),
            "sorting: loss with positions": mean_over_seeds(tasks["sort"][BASE].values()),
            "sorting: loss without": sorting,
        },
        evidence,
    )


def off_equivariance(seed: int = 0) -> float:
    """How far an encoder without positions is from giving a permuted sentence the permuted outputs, in float64."""
    config = MODEL.override({"n_encoder_layers": 2, "positions.kind": "none"})
    model, tokens = build_translator(config, seed), random_tokens(config, seed)
    order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return relative(model.encode(tokens[:, order]).hidden, model.encode(tokens).hidden[:, order])


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of the language model; and one of each task, whose floor is known, at one learning rate."""
    text = claim_studies.study("claim-no-position", claim_studies.base(budget), VARIANTS, budget)
    studies = {}
    for task in TASKS:
        base = claim_studies.base(budget, TRANSLATOR, model="transformer-tiny", data=str(pairs(task)))
        studies[task] = claim_studies.study(f"claim-no-position-{task}", base, VARIANTS, replace(budget, rates=()))
    return judge(
        tuned_arms(text),
        {task: study.losses() for task, study in studies.items()},
        claim_studies.entropies(text)["bigram"],
        off_equivariance(),
        tuple(study.path for study in (text, *studies.values())),
    )


CLAIM = Claim(
    "no-position",
    "Without positions nothing is learned.",
    NOTES,
    "study",
    "A causal language model, each arm at its own best learning rate; and, at one rate, an encoder-decoder that copies "
    "and sorts; with positions and without.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        "The translators have one learning rate: the floor of a bag of tokens is exact, and no rate can get below it.",
        "A masked language model, whose encoder is not causal, would be the control on text; none is trained here.",
        (
            "That a causal model without positions ends below the bigram entropy shows that it uses earlier tokens, "
            "not that it knows their order. Haviv et al. 2022 (arXiv 2203.16634) show the latter of larger ones."
        ),
        "The bigram entropy is that of the training text; on the validation text a bigram model loses a little more.",
    ),
)
