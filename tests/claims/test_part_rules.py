"""The rules of the claims about positions, tokens and projections, on numbers made for them."""

from __future__ import annotations

import itertools
from math import factorial, log, prod

import pytest

from glassformer.claims import learned_vs_sinusoidal, no_position, no_token_embedding, q_only
from glassformer.claims.claim import Measurement
from glassformer.claims.judging import worded
from glassformer.claims.learned_vs_sinusoidal import CELLS, LARGE, LEARNED, MINGPT, PAPER, SINUSOIDAL, SMALL, name_of
from glassformer.claims.tuned import TunedArms
from glassformer.studies.design import BASE

ENTROPIES = {"unigram": 3.3, "bigram": 2.45}


@pytest.mark.parametrize(
    ("loss", "without", "verdict"),
    [(2.0, 2.4, "supported"), (2.4, 2.0, "depends"), (3.2, 3.1, "refuted"), (2.0, 2.0, "undecided")],
)
def test_q_only_is_set_against_a_model_without_attention(losses, loss, without, verdict):
    matched = TunedArms({BASE: losses(1.9), q_only.SHARED: losses(loss)})
    other = (
        losses(loss, without - loss)
        if without != loss
        else {seed: 2 * loss - each for seed, each in losses(loss).items()}
    )
    plain = TunedArms({**matched.losses, q_only.WITHOUT: other})
    result = q_only.judge(plain, matched, ENTROPIES)
    assert result.verdict == verdict
    assert "no attention less one projection" in result.numbers


def test_q_only_counts_a_run_that_diverged_against_it(losses):
    plain = TunedArms({BASE: losses(1.9), q_only.SHARED: losses(2.0, diverged=1), q_only.WITHOUT: losses(2.4)})
    parts = list(q_only.judge(plain, plain, ENTROPIES).parts.values())
    assert parts == [False, None, False, None]


def test_q_only_is_judged_at_equal_parameters_too(losses):
    plain = TunedArms({BASE: losses(1.9), q_only.SHARED: losses(2.0), q_only.WITHOUT: losses(2.0, 0.4)})
    matched = TunedArms({BASE: losses(1.9), q_only.SHARED: losses(3.4)})
    assert list(q_only.judge(plain, matched, ENTROPIES).parts.values()) == [True, True, False, False]


@pytest.fixture
def positions(losses):
    """Arms whose loss is that of their cell: ``kind`` more for sinusoids, ``scale`` more for positions of 0.71."""

    def positions(kind=0.0, scale=0.0, tokens=0.0, rates=None):
        found = {}
        for cell in CELLS:
            more = kind * (cell[0] == SINUSOIDAL) + scale * (cell[1] == LARGE) + tokens * (cell[2] == PAPER)
            jitter = 0.003 * CELLS.index(cell)  # no two arms differ by the same at every seed
            found[name_of(*cell)] = {seed: loss + jitter * (-1) ** seed for seed, loss in losses(2.0, more).items()}
        selection = {} if rates is None else {arm: {1e-3: losses} for arm, losses in found.items()}
        return TunedArms(found, {}, {}, selection)

    return positions


def test_every_combination_of_kind_and_scales_is_an_arm():
    assert len(CELLS) == 8 == len({name_of(*cell) for cell in CELLS})
    assert name_of(LEARNED, SMALL, MINGPT) == BASE
    assert set(learned_vs_sinusoidal.VARIANTS) == {name_of(*cell) for cell in CELLS} - {BASE}
    large = learned_vs_sinusoidal.VARIANTS[name_of(LEARNED, LARGE, MINGPT)]
    assert large == {"model.positions.options": {"rms": LARGE}}
    small = learned_vs_sinusoidal.VARIANTS[name_of(SINUSOIDAL, SMALL, PAPER)]
    assert small["model.positions.options"] == {"rms": SMALL}
    assert small["model.embedding.scale"] is True


@pytest.mark.parametrize(
    ("kind", "scale", "verdict"), [(0.3, 0.0, "supported"), (-0.3, 0.0, "refuted"), (-0.1, 0.3, "depends")]
)
def test_learned_vs_sinusoidal_flips_with_the_kind_and_depends_on_the_scale(positions, kind, scale, verdict):
    arms = positions(kind, scale)
    result = learned_vs_sinusoidal.judge(arms, arms.losses)
    assert result.verdict == verdict
    assert result.numbers[f"{MINGPT}: share of the kind in the gap"].value == pytest.approx(kind, abs=0.01)
    assert result.numbers[f"{MINGPT}: share of the positions' scale in the gap"].value == pytest.approx(scale, abs=0.01)


def test_the_shares_of_kind_and_scale_add_up_to_the_notes_gap(positions):
    arms = positions(0.12, 0.31, 0.05)
    numbers = learned_vs_sinusoidal.judge(arms, arms.losses).numbers
    notes = next(each for name, each in numbers.items() if name.startswith("as in the notes") and "final" in name)
    shares = [numbers[f"{MINGPT}: share of the {what} in the gap"].value for what in ("kind", "positions' scale")]
    assert sum(shares) == pytest.approx(notes.value)


@pytest.mark.parametrize(
    ("kind", "scale", "said"),
    [
        (0.3, -0.3, "the kind makes sinusoidal positions worse, and the positions' scale makes them better"),
        (0.0, 0.3, "What the kind makes is inconclusive"),
        (-0.3, 0.3, "the kind makes them better"),
    ],
)
def test_learned_vs_sinusoidal_says_whose_the_gap_is(positions, kind, scale, said):
    arms = positions(kind, scale)
    assert said in learned_vs_sinusoidal.judge(arms, arms.losses).condition


def test_each_kind_is_also_compared_at_the_scales_that_selection_found_best_for_it(positions):
    arms = positions(0.3, 0.2, -0.1, rates=True)
    assert learned_vs_sinusoidal.best_cell(arms, LEARNED) == name_of(LEARNED, SMALL, PAPER)
    assert learned_vs_sinusoidal.best_cell(arms, SINUSOIDAL) == name_of(SINUSOIDAL, SMALL, PAPER)
    result = learned_vs_sinusoidal.judge(arms, arms.losses)
    gap = result.numbers["each at the scales that were best for it: gap of the final loss"]
    assert gap.value == pytest.approx(0.3, abs=0.05)
    assert len(result.parts) == 11
    assert len(learned_vs_sinusoidal.judge(positions(0.3), arms.losses).parts) == 10  # no selection, no best scales


def test_a_contrast_leaves_out_a_seed_at_which_a_run_diverged(positions):
    arms = positions(0.3)
    one = name_of(SINUSOIDAL, LARGE, MINGPT)
    broken = {**arms.losses, one: {**arms.losses[one], 0: None}}
    weights = learned_vs_sinusoidal.kind_share(MINGPT)
    kept = {arm: {seed: loss for seed, loss in losses.items() if seed} for arm, losses in arms.losses.items()}
    assert learned_vs_sinusoidal.contrast(broken, weights) == learned_vs_sinusoidal.contrast(kept, weights)


@pytest.mark.parametrize(
    ("text", "copy", "sort", "verdict"),
    [(2.1, 0.8, 0.001, "depends"), (2.9, 0.9, 0.9, "supported"), (2.1, 0.2, 0.001, "refuted")],
)
def test_no_position_flips(losses, text, copy, sort, verdict):
    def arms(loss):
        return {BASE: losses(loss), no_position.WITHOUT: losses(loss)}

    tasks = {"copy": arms(copy), "sort": arms(sort)}
    assert no_position.judge(TunedArms(arms(text)), tasks, 2.45, 0.0).verdict == verdict


def test_no_position_reports_no_loss_of_runs_that_diverged(losses):
    gone = {BASE: losses(2.1), no_position.WITHOUT: losses(2.1, diverged=4)}
    result = no_position.judge(TunedArms(gone), {"copy": gone, "sort": gone}, 2.45, 0.0)
    assert result.verdict == "undecided"
    assert worded(Measurement(None)) in result.sentence
    assert "0.000" not in result.sentence


def test_an_encoder_without_positions_gives_a_permuted_sentence_the_permuted_outputs():
    assert max(no_position.off_equivariance(seed) for seed in range(3)) < 1e-12


def test_the_floor_of_a_bag_of_tokens_is_that_of_its_orders(monkeypatch):
    symbols, length = len(no_position.SYMBOLS), 3
    every = list(itertools.product(range(symbols), repeat=length))
    orders = [factorial(length) / prod(factorial(each.count(s)) for s in set(each)) for each in every]
    monkeypatch.setattr(no_position, "LENGTH", length)
    assert no_position.bag_floor() == pytest.approx(sum(map(log, orders)) / len(every) / (length + 1))


@pytest.mark.parametrize(
    ("loss", "diverged", "parts"),
    [
        (4.3, 0, [True, True]),
        (3.35, 0, [False, True]),  # how often each token comes is something
        (2.5, 0, [False, False]),
        (3.3, 4, [True, True]),
        (3.25, 0, [False, None]),
    ],
)
def test_no_token_embedding_flips_at_a_uniform_guess_and_at_the_unigram_loss(losses, loss, diverged, parts):
    arms = TunedArms({BASE: losses(2.0), no_token_embedding.WITHOUT: losses(loss, diverged=diverged)})
    assert list(no_token_embedding.judge(arms, 4.17, 3.3).parts.values()) == parts
