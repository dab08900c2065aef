from __future__ import annotations

import pytest
import torch

from glassformer.data.tokenizers import ByteTokenizer
from glassformer.errors import ConfigError, DataError
from glassformer.generation import DecodingConfig, DecodingEngine, SamplingConfig, generate, stream
from glassformer.generation.generate import window_start
from glassformer.generation.sampling import filtered
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.probes import record

EAGER = DecodingConfig(compile="off")
SMALL = {
    "vocab_size": 40,
    "max_seq_len": 12,
    "d_model": 32,
    "n_layers": 2,
    "attention": {"n_heads": 4},
    "initialisation": {"std": 0.2},
}
VARIANTS = {
    "learned": {},
    "sinusoidal": {"positions.kind": "sinusoidal"},
    "rotary": {"positions.kind": "rotary", "attention.n_kv_heads": 2, "attention.qk_norm": "rmsnorm"},
    "alibi": {"positions.kind": "alibi", "attention.n_kv_heads": 1},
    "none": {"positions.kind": "none", "attention.projection": "shared"},
    "post-norm": {"norm.placement": "post", "attention.projection": "separate"},
    "convolution": {"feedforward.convolution": True, "feedforward.kind": "swiglu"},
    "no-attention": {"sublayers": "feedforward"},
    "batchnorm": {"norm.kind": "batchnorm"},
    "dropout": {"dropout": 0.5, "attention.dropout": 0.5},
}


def make(**changes):
    torch.manual_seed(0)
    return Decoder(ModelConfig.build(SMALL).override(changes))


@torch.no_grad()
def plain_logits(model, tokens, start):
    """The next token's logits by a whole forward pass over the window."""
    return model.eval()(torch.tensor([tokens[start:]]))[0, -1]


def plain_greedy(model, prompt, n_new, kept):
    """Greedy generation without a cache, by the documented rule of the window."""
    limit = model.config.max_seq_len
    tokens, start = list(prompt), max(0, len(prompt) - limit)
    for _ in range(n_new):
        start = window_start(start, len(tokens), limit, kept)
        tokens.append(int(plain_logits(model, tokens, start).argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_logits_are_those_of_the_whole_forward_pass(variant):
    model = make(**VARIANTS[variant])
    engine = DecodingEngine(model, EAGER)
    rows = torch.randint(0, 40, (3, 12), generator=torch.Generator().manual_seed(1)).tolist()
    starts = [0, 3, 2]  # two rows are padded on the left
    cache = engine.make_cache(3, 12, torch.tensor(starts))
    logits = engine.prefill(torch.tensor([row[:5] for row in rows]), cache)
    for length in range(5, 13):
        for row, start in enumerate(starts):
            expected = plain_logits(model, rows[row][:length], start)
            torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-5)
        if length < 12:
            logits = engine.step(torch.tensor([row[length] for row in rows]), cache)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stride", [1, 3, 11])
def test_generation_far_beyond_the_context_equals_generation_without_a_cache(variant, stride):
    model = make(**VARIANTS[variant])
    prompts = [[1], [2, 3, 4, 5, 6], list(range(12)), list(range(30))]
    decoding = DecodingConfig(compile="off", stride=stride)
    together = generate(model, prompts, SamplingConfig(temperature=0.0, max_new_tokens=40), decoding=decoding)
    for prompt, sequence in zip(prompts, together, strict=True):
        assert sequence.tokens == plain_greedy(model, prompt, 40, kept=12 - stride)


def test_the_default_stride_is_a_quarter_of_the_context():
    model = make()
    sequence = generate(model, [[1]], SamplingConfig(temperature=0.0, max_new_tokens=40), decoding=EAGER)[0]
    assert sequence.tokens == plain_greedy(model, [1], 40, kept=9)


def test_a_context_of_one_token_slides_too():
    model = make(max_seq_len=1)
    sequence = generate(model, [[1], [2]], SamplingConfig(temperature=0.0, max_new_tokens=5), decoding=EAGER)[0]
    assert sequence.tokens == plain_greedy(model, [1], 5, kept=1)


@pytest.mark.parametrize("store", [{}, {"precision": "bf16"}, {"quantize": "int8"}])
def test_a_row_of_a_batch_gives_what_it_gives_alone(store):
    model = make(**VARIANTS["rotary"])
    prompts = [[1], [2, 3, 4, 5, 6], list(range(12)), list(range(30)), [7, 7]]
    sampling = SamplingConfig(temperature=0.8, top_k=20, top_p=0.95, min_p=0.01, repetition_penalty=1.2, seed=5)
    sampling = sampling.override({"max_new_tokens": 30})
    decoding = DecodingConfig(compile="off", **store)
    together = generate(model, prompts, sampling, decoding=decoding)
    for row, prompt in enumerate(prompts):
        alone = generate(model, [prompt], sampling, decoding=decoding, rows=[row])[0]
        assert alone.tokens == together[row].tokens


def test_a_seed_reproduces_and_another_seed_differs():
    model, prompts = make(), [[1, 2], [1, 2]]
    first, again, other = (
        [s.tokens for s in generate(model, prompts, SamplingConfig(seed=seed, max_new_tokens=20), decoding=EAGER)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first[0] != first[1]  # equal prompts, different rows


def test_rows_that_end_leave_and_change_nothing_for_the_others():
    model, prompts = make(), [[1], [2, 3, 4], [5, 6]]
    sampling = SamplingConfig(seed=2, max_new_tokens=40)
    whole = generate(model, prompts, sampling, decoding=EAGER)
    end = whole[1].tokens[3]
    ended = generate(model, prompts, sampling, decoding=EAGER, end_token=end)
    for before, after in zip(whole, ended, strict=True):
        length = before.tokens.index(end) + 1 if end in before.tokens else 40
        assert after.tokens == before.tokens[:length]
        assert after.finish == ("end" if end in before.tokens else "length")
    assert ended[1].finish == "end"


def test_streaming_brings_the_same_tokens_and_text():
    model = make(vocab_size=256)
    prompts, sampling = [list(b"ab"), list(b"c")], SamplingConfig(max_new_tokens=25)
    seen = []
    sequences = generate(model, prompts, sampling, decoding=EAGER, tokenizer=ByteTokenizer(), on_token=seen.append)
    events = list(stream(model, prompts, sampling, decoding=EAGER, tokenizer=ByteTokenizer()))
    assert events == seen
    for row, sequence in enumerate(sequences):
        assert [event.token for event in events if event.row == row] == sequence.tokens
        assert "".join(event.text for event in events if event.row == row) == sequence.text
        assert sequence.text == ByteTokenizer().decode(sequence.tokens)
        assert [event.finish for event in events if event.row == row][-1] == sequence.finish == "length"


def test_a_stop_string_over_several_tokens_ends_its_row_only():
    model = make(vocab_size=256)
    prompts, sampling = [list(b"ab"), list(b"c")], SamplingConfig(max_new_tokens=30, top_k=4)
    # printable, so that stop strings are plain text: only the letters a to h can be drawn
    with torch.no_grad():
        model.head.weight = torch.nn.Parameter(model.head.weight.detach().clone())
        model.head.bias = torch.nn.Parameter(torch.full((256,), -1e4))
        model.head.bias[97:105] = 0.0
    whole = generate(model, prompts, sampling, decoding=EAGER, tokenizer=ByteTokenizer())
    stop = whole[0].text[7:10]
    cut = generate(model, prompts, sampling, decoding=EAGER, tokenizer=ByteTokenizer(), stop=[stop])
    for before, after in zip(whole, cut, strict=True):
        position = before.text.find(stop)
        if position < 0:
            assert (after.text, after.finish) == (before.text, "length")
        else:
            assert (after.text, after.finish) == (before.text[:position], "stop")
            assert after.tokens == before.tokens[: position + 3]
    assert cut[0].finish == "stop"


def test_the_repetition_penalty_counts_prompt_and_text_so_far():
    model, sampling = make(), SamplingConfig(temperature=0.0, repetition_penalty=1.7, max_new_tokens=10)
    tokens = [1, 2, 3]
    got = generate(model, [tokens], sampling, decoding=DecodingConfig(compile="off"))[0].tokens
    start = 0
    for token in got:
        start = window_start(start, len(tokens), 12, 9)
        seen = torch.zeros(1, 40, dtype=torch.bool)
        seen[0, tokens] = True
        assert token == int(filtered(plain_logits(model, tokens, start)[None], sampling, seen).argmax())
        tokens.append(token)


def test_the_callers_model_is_not_changed():
    model = make(**VARIANTS["dropout"]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    types = [type(module) for module in model.modules()]
    for store in ({}, {"precision": "bf16"}, {"quantize": "int8"}):
        generate(model, [[1]], SamplingConfig(max_new_tokens=3), decoding=DecodingConfig(compile="off", **store))
    assert model.training
    assert types == [type(module) for module in model.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_recorder_on_the_callers_model_hears_nothing_of_generation():
    model = make()
    with record(model, "logits") as seen:
        generate(model, [[1]], SamplingConfig(max_new_tokens=3), decoding=EAGER)
    assert not seen


def test_bad_prompts_are_refused_all_at_once():
    with pytest.raises(DataError) as error:
        generate(make(), [[1], [], [40, -1]])
    assert "Prompt 1 is empty" in str(error.value)
    assert "Prompt 2 holds ids outside the vocabulary of 40 tokens (0 to 39): -1, 40" in str(error.value)
    with pytest.raises(DataError, match="no prompt"):
        generate(make(), [])


def test_settings_without_effect_or_sense_are_refused():
    with pytest.raises(ConfigError, match="set one of the two"):
        DecodingConfig.build({"precision": "bf16", "quantize": "int8"})
    with pytest.raises(ConfigError, match="stride is"):
        DecodingEngine(make(), DecodingConfig(stride=12))
    with pytest.raises(ConfigError, match="no tokenizer"):
        generate(make(), [[1]], stop=["x"])
