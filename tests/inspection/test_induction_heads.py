"""A two-layer model whose heads are written by hand, and the scores that must find them.

The residual stream has a place for each token, one for each position, and one for each token once more: "the token
before". Layer 0 has a previous-token head, which also copies what it sees into the last of these, and a
duplicate-token head; layer 1 has an induction head, whose keys are "the token before" (K-composition with the first:
Elhage et al. 2021). The other heads look everywhere alike.
"""

from __future__ import annotations

import pytest
import torch

from glassformer.inspection.attention import attention_patterns
from glassformer.inspection.attention_scores import repeated_sequence
from glassformer.inspection.projections import slices
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder

VOCABULARY, LENGTH = 16, 12
POSITIONS = 2 * LENGTH
SURE = 20.0  # the score of a match: e²⁰ times the weight of what does not match

TOKEN = torch.arange(VOCABULARY)
POSITION = VOCABULARY + torch.arange(POSITIONS)
BEFORE = VOCABULARY + POSITIONS + torch.arange(VOCABULARY)
D_MODEL = 2 * VOCABULARY + POSITIONS

PREVIOUS, DUPLICATE, INDUCTION = (0, 1), (0, 2), (1, 3)  # layer and head


@pytest.fixture(scope="module")
def model():
    config = ModelConfig.build(
        {
            "vocab_size": VOCABULARY,
            "max_seq_len": POSITIONS,
            "d_model": D_MODEL,
            "n_layers": 2,
            "sublayers": "attention",
            "attention": {
                "n_heads": 4,
                "d_head": VOCABULARY + POSITIONS,
                "projection": "separate",
                "scale": False,
                "bias": False,
            },
            "norm": {"placement": "none", "final": False},
            "positions": {"kind": "learned"},
        }
    )
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.tokens.weight[TOKEN, TOKEN] = 1.0
        model.embedding.positions.table.weight[torch.arange(POSITIONS), POSITION] = 1.0
        _write_previous_token_head(model)
        _write_duplicate_token_head(model)
        _write_induction_head(model)
    return model


def matrices(model, layer, head):
    """The head's own rows of W_Q, W_K, W_V [d_head, d_model] and columns of W_O [d_model, d_head]: views."""
    part = model.blocks[layer].attention
    own = slice(head * part.d_head, (head + 1) * part.d_head)
    return part.w_q.weight[own], part.w_k.weight[own], part.w_v.weight[own], part.w_o.weight[:, own]


def _write_previous_token_head(model):
    """A query asks for the position before its own; what it finds, it writes as "the token before"."""
    query, key, value, output = matrices(model, *PREVIOUS)
    inside = torch.arange(POSITIONS)
    query[inside[:-1], POSITION[1:]] = SURE
    key[inside, POSITION] = 1.0
    value[TOKEN, TOKEN] = 1.0
    output[BEFORE, TOKEN] = 1.0


def _write_duplicate_token_head(model):
    """A query asks for its own token, and not for its own position."""
    query, key, _, _ = matrices(model, *DUPLICATE)
    inside = torch.arange(VOCABULARY + POSITIONS)
    query[inside[:VOCABULARY], TOKEN] = SURE
    query[inside[VOCABULARY:], POSITION] = -SURE
    key[inside[:VOCABULARY], TOKEN] = 1.0
    key[inside[VOCABULARY:], POSITION] = 1.0


def _write_induction_head(model):
    """A query asks for its own token among "the tokens before". Nothing stands before the first position, where the
    previous-token head could only see itself: that key is put out of the running.
    """
    query, key, _, _ = matrices(model, *INDUCTION)
    query[TOKEN, TOKEN] = SURE
    key[TOKEN, BEFORE] = 1.0
    key[TOKEN, POSITION[0]] = -1.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("score", "built"),
    [
        ("previous-token score", PREVIOUS),
        ("duplicate-token score", DUPLICATE),
        ("induction score", INDUCTION),
    ],
)
def test_each_score_is_near_one_at_the_head_built_for_it_and_low_at_all_others(model, seed, score, built):
    trace = model.trace(repeated_sequence(VOCABULARY, LENGTH, seed))
    found = attention_patterns(trace).measures[score]
    assert found.shape == (2, 4)
    assert float(found[built]) > 0.999
    others = [float(found[layer, head]) for layer in range(2) for head in range(4) if (layer, head) != built]
    assert max(others) < 0.25, found


def test_the_heads_left_uniform_have_the_largest_entropy_there_is(model):
    found = attention_patterns(model.trace(repeated_sequence(VOCABULARY, LENGTH, 0)))
    share = found.measures["entropy (share of the largest)"]
    for layer, head in ((0, 0), (0, 3), (1, 0), (1, 1), (1, 2)):
        assert float(share[layer, head]) == pytest.approx(1.0, abs=1e-5)
    assert float(share[PREVIOUS]) < 0.01


def test_heads_built_apart_diverge_and_uniform_heads_do_not(model):
    found = attention_patterns(model.trace(repeated_sequence(VOCABULARY, LENGTH, 0))).divergence
    place = {head: 4 * head[0] + head[1] for head in (PREVIOUS, DUPLICATE, INDUCTION)}
    assert float(found[place[DUPLICATE], place[INDUCTION]]) > 0.3
    assert float(found[0, 3]) == pytest.approx(0.0, abs=1e-6)  # two uniform heads of layer 0
    assert float(found[0, 4]) == pytest.approx(0.0, abs=1e-6)  # and of different layers


def test_the_induction_heads_keys_are_composed_with_the_previous_token_head(model):
    """What layer 0 writes through W_V W_O is what layer 1 asks for through W_Q W_Kᵀ: token by token."""
    writes = slices(model.blocks[0].attention).ov_circuits()[PREVIOUS[1]]
    asks = slices(model.blocks[1].attention).qk_circuits()[INDUCTION[1]]
    composed = asks @ writes.T  # of a query's token with the token before a key
    assert torch.equal(composed[TOKEN][:, TOKEN], SURE * torch.eye(VOCABULARY))


def test_without_the_previous_token_head_there_is_no_induction(model):
    """Cutting the first layer's copy leaves the second nothing to match: the score falls to chance."""
    tokens = repeated_sequence(VOCABULARY, LENGTH, 0)
    kept = model.blocks[0].attention.w_o.weight.detach().clone()
    try:
        with torch.no_grad():
            model.blocks[0].attention.w_o.weight.zero_()
        cut = attention_patterns(model.trace(tokens)).measures["induction score"]
    finally:
        model.blocks[0].attention.w_o.weight.data.copy_(kept)
    assert float(cut[INDUCTION]) < 0.25
