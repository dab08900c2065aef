from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError, DataError
from glassformer.inspection import attention_scores as scores
from glassformer.inspection.attention import all_attention_patterns, attention_patterns
from glassformer.models.build import build
from glassformer.models.config import ModelConfig

SMALL = {"vocab_size": 11, "max_seq_len": 12, "d_model": 16, "n_layers": 3, "attention": {"n_heads": 4}}


def model(**changes):
    torch.manual_seed(0)
    built = build(ModelConfig.build(SMALL | {"initialisation": {"std": 0.5}} | changes))
    return built.eval()


def random_weights(*shape, causal=True, seed=0):
    drawn = 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if causal:
        drawn = drawn.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -math.inf)
    return drawn.softmax(-1)


# --- the measures, each against its definition in plain loops ---------------------------------------------------------


def by_loops(weights, tokens):
    """One head's measures, [T, T] and T tokens, written out."""
    length = len(tokens)
    w = weights.tolist()
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in w]
    shares = [h / math.log(q + 1) for q, h in enumerate(entropies) if q > 0]
    distances = [sum(p * abs(q - k) for k, p in enumerate(row)) for q, row in enumerate(w)]
    previous = [w[q][q - 1] for q in range(1, length)]
    duplicate, induction = [], []
    for q in range(length):
        earlier = [k for k in range(q) if tokens[k] == tokens[q]]
        if earlier:
            duplicate.append(sum(w[q][k] for k in earlier))
            induction.append(sum(w[q][k + 1] for k in earlier))

    def mean(values):
        return sum(values) / len(values) if values else math.nan

    return {
        "entropy (nats)": mean(entropies),
        "entropy (share of the largest)": mean(shares),
        "mean distance (tokens)": mean(distances),
        "share on the first token": mean([row[0] for row in w]),
        "previous-token score": mean(previous),
        "duplicate-token score": mean(duplicate),
        "induction score": mean(induction),
    }


@settings(deadline=None, max_examples=60)
@given(tokens=st.lists(st.integers(0, 3), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_every_measure_is_its_definition(tokens, seed):
    weights = random_weights(2, 3, len(tokens), len(tokens), seed=seed)
    found = scores.self_attention_measures(weights, tokens)
    for layer in range(2):
        for head in range(3):
            for name, expected in by_loops(weights[layer, head], tokens).items():
                assert float(found[name][layer, head]) == pytest.approx(expected, abs=1e-9, nan_ok=True), name


def test_texts_and_ids_are_the_same_tokens():
    weights = random_weights(1, 2, 5, 5)
    for measure in (scores.induction_score, scores.duplicate_token_score):
        as_texts, as_ids = measure(weights, ["a", "b", "a", "b", "a"]), measure(weights, torch.tensor([7, 3, 7, 3, 7]))
        assert torch.equal(as_texts, as_ids)


def test_scores_are_nan_where_no_query_has_what_they_look_for():
    weights = random_weights(1, 2, 4, 4)
    assert scores.induction_score(weights, [0, 1, 2, 3]).isnan().all()
    assert scores.duplicate_token_score(weights, [0, 1, 2, 3]).isnan().all()
    assert scores.previous_token_score(weights[..., :1, :1]).isnan().all()
    assert scores.normalised_entropy(weights[..., :1, :1]).isnan().all()


def test_a_uniform_head_has_entropy_ln_s_and_a_sharp_one_zero():
    uniform, sharp = torch.full((6, 8), 1 / 8), torch.eye(8)[:6]
    assert float(scores.entropy(uniform)) == pytest.approx(math.log(8), abs=1e-6)
    assert float(scores.normalised_entropy(uniform)) == pytest.approx(1.0, abs=1e-6)
    assert float(scores.entropy(sharp)) == 0.0


def test_entropy_is_measured_against_the_keys_that_can_be_seen_and_not_those_that_are_seen():
    sharp = torch.eye(4)
    visible = torch.ones(4, 4).tril().bool()
    mixed = torch.stack((sharp, torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None]))
    assert scores.normalised_entropy(mixed).tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert float(scores.normalised_entropy(sharp, visible)) == 0.0


def test_half_precision_weights_are_measured_in_full():
    weights = random_weights(1, 2, 40, 40).to(torch.bfloat16)
    assert scores.entropy(weights).dtype == torch.float32
    torch.testing.assert_close(scores.entropy(weights), scores.entropy(weights.float()))


def test_the_diagonal_distance_is_zero_word_by_word_and_a_third_for_uniform_heads():
    assert float(scores.diagonal_distance(torch.eye(7))) == 0.0
    assert float(scores.diagonal_distance(torch.eye(3).repeat_interleave(2, 0))) == pytest.approx(1 / 12)  # 6 to 3
    assert float(scores.diagonal_distance(torch.full((200, 100), 0.01))) == pytest.approx(1 / 3, abs=0.01)
    assert float(scores.diagonal_distance(torch.eye(2).flip(0))) == pytest.approx(0.5)


# --- heads against heads ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), length=st.integers(1, 7), causal=st.booleans())
def test_divergence_is_the_mean_of_two_kullback_leibler_divergences_to_the_middle(seed, length, causal):
    weights = random_weights(2, 2, length, length, causal=causal, seed=seed)
    found = scores.divergence(weights)
    rows = weights.flatten(0, 1)
    for a in range(4):
        for b in range(4):
            middle = (rows[a] + rows[b]) / 2
            halves = [torch.where(p > 0, p * (p / middle).log(), 0.0).sum(-1) / 2 for p in (rows[a], rows[b])]
            assert float(found[a, b]) == pytest.approx(float(sum(halves).mean()), abs=1e-9)


def test_divergence_is_ln_2_for_heads_that_never_look_at_the_same_key_and_0_for_equal_ones():
    first, second = torch.eye(5), torch.eye(5).roll(1, dims=1)
    found = scores.divergence(torch.stack((first, second, first))[None])
    assert found[0, 1].item() == pytest.approx(math.log(2))
    assert found[0, 2].item() == 0.0
    assert torch.equal(found, found.T)
    assert found.diagonal().tolist() == [0.0, 0.0, 0.0]


def test_divergence_within_layers_is_the_blocks_on_the_diagonal_of_the_whole():
    weights = random_weights(3, 2, 6, 6)
    whole, within = scores.divergence(weights), scores.divergence(weights, within_layers=True)
    assert within.shape == (3, 2, 2)
    for layer in range(3):
        own = slice(2 * layer, 2 * layer + 2)
        torch.testing.assert_close(within[layer], whole[own, own])


# --- the probe text ---------------------------------------------------------------------------------------------------


def test_a_repeated_sequence_is_random_tokens_twice_and_the_same_for_a_seed():
    found = scores.repeated_sequence(50, 20, seed=3)
    assert found.shape == (1, 40)
    assert torch.equal(found[0, :20], found[0, 20:])
    assert len(set(found[0, :20].tolist())) == 20
    assert torch.equal(found, scores.repeated_sequence(50, 20, seed=3))
    assert not torch.equal(found, scores.repeated_sequence(50, 20, seed=4))
    assert scores.repeated_sequence(3, 8, seed=0).max() == 2  # a vocabulary smaller than the half


def test_a_repeated_sequence_of_nothing_is_refused_with_all_reasons():
    with pytest.raises(ConfigError) as caught:
        scores.repeated_sequence(0, 0, seed=0)
    assert len(caught.value.complaints) == 2


# --- of a traced pass -------------------------------------------------------------------------------------------------


def test_patterns_are_the_traced_weights_layer_by_layer():
    trace = model().trace(torch.tensor([[1, 2, 3, 1, 2], [4, 5, 6, 7, 8]]))
    found = attention_patterns(trace, row=1, tokens=list("abcde"))
    for layer in range(3):
        assert torch.equal(found.weights[layer], trace[f"blocks.{layer}.attention.weights"][1])
    assert found.queries == found.keys == tuple("abcde")
    assert found.layers == ("layer 0", "layer 1", "layer 2")
    assert found.measures["induction score"].isnan().all()  # the second row repeats nothing
    assert not attention_patterns(trace).measures["induction score"].isnan().any()
    assert attention_patterns(trace).queries == ("1", "2", "3", "1", "2")


def test_layers_can_be_chosen_and_patterns_need_only_the_weights():
    trace = model().trace(torch.tensor([[1, 2, 3]]), only=("blocks.2.attention.weights",))
    found = attention_patterns(trace, layers=[2])
    assert found.layers == ("layer 2",)
    assert found.weights.shape == (1, 4, 3, 3)
    with pytest.raises(ConfigError, match="no attention in layer 7"):
        attention_patterns(trace, layers=[2, 7])
    with pytest.raises(ConfigError, match=r"does not hold 'blocks.0.attention.weights'"):
        attention_patterns(trace)


def test_pads_are_no_tokens_of_the_pattern():
    tokens, padding = torch.tensor([[0, 0, 5, 6, 5, 6]]), torch.tensor([[True, True, False, False, False, False]])
    built = model()
    padded = attention_patterns(built.trace(tokens, padding=padding))
    alone = attention_patterns(built.trace(tokens[:, 2:]))
    torch.testing.assert_close(padded.weights, alone.weights)
    assert padded.keys == alone.keys == ("5", "6", "5", "6")
    for name, values in alone.measures.items():
        torch.testing.assert_close(padded.measures[name], values)


def test_an_encoder_decoder_has_three_kinds_of_attention():
    built = model(n_encoder_layers=2)
    source, target = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[1, 2, 3]])
    trace = built.trace(source, target)
    encoder, decoder, cross = all_attention_patterns(trace, tokens=list("xyz"), source=list("abcd"))
    assert encoder.weights.shape == (2, 4, 4, 4)
    assert decoder.weights.shape == (3, 4, 3, 3)
    assert cross.weights.shape == (3, 4, 3, 4)
    assert (cross.queries, cross.keys) == (tuple("xyz"), tuple("abcd"))
    assert len({encoder.title, decoder.title, cross.title}) == 3
    assert torch.equal(cross.weights[1], trace["decoder.blocks.1.cross_attention.weights"][0])
    assert torch.equal(encoder.weights[1], trace["encoder.blocks.1.attention.weights"][0])
    assert "previous-token score" not in cross.measures
    torch.testing.assert_close(cross.weights.sum(-1), torch.ones(3, 4, 3))


def test_cross_attention_leaves_the_sources_pads_out():
    built = model(n_encoder_layers=2)
    source, target = torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([[1, 2, 3]])
    trace = built.trace(source, target, source == 0)
    alone = built.trace(source[:, :3], target)
    for side, cross in (("decoder", True), ("encoder", False)):
        found = attention_patterns(trace, side=side, cross=cross)
        expected = attention_patterns(alone, side=side, cross=cross)
        assert found.keys == expected.keys == ("3", "4", "5")
        torch.testing.assert_close(found.weights, expected.weights)
        assert float(found.measures["entropy (share of the largest)"].max()) <= 1.0 + 1e-6


def test_models_without_what_is_asked_for_say_so():
    decoder_only = model().trace(torch.tensor([[1, 2]]))
    with pytest.raises(ConfigError, match="no cross-attention"):
        attention_patterns(decoder_only, cross=True)
    with pytest.raises(ConfigError, match="no encoder"):
        attention_patterns(decoder_only, side="encoder")
    with pytest.raises(ConfigError, match="sublayers=feedforward"):
        attention_patterns(model(sublayers="feedforward").trace(torch.tensor([[1, 2]])))
    with pytest.raises(DataError, match="2 tokens.*3 texts"):
        attention_patterns(decoder_only, tokens=list("abc"))
    with pytest.raises(DataError, match="no row 1"):
        attention_patterns(decoder_only, row=1)


def test_checkpoints_are_frames_of_the_same_figures():
    tokens = torch.tensor([[1, 2, 1, 2]])
    built, frames = model(), []
    for _ in range(3):
        frames.append(attention_patterns(built.trace(tokens)))
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.mul_(1.1)
    figures = type(frames[0]).figures_of(frames)
    assert {figure.n_frames for figure in figures} == {3}
    assert figures[0].component == "attention-maps"
    assert len({figure.title for figure in figures}) == len(figures)
    assert "<iframe" in frames[0]._repr_html_()
