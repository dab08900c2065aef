from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MarianConfig, MarianMTModel

from glassformer.errors import ConfigError, DataError, GlassformerError
from glassformer.generation.alignment import align
from glassformer.generation.beam_search import beam_search
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.continuations import Continuations
from glassformer.generation.quantization import decoding_copy
from glassformer.models.config import ModelConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.marian import load_marian

PAD, START, END = 0, 2, 3
CONFIG = ModelConfig.build(
    {
        "vocab_size": 30,
        "max_seq_len": 40,
        "d_model": 16,
        "n_layers": 2,
        "n_encoder_layers": 2,
        "attention": {"n_heads": 2},
        "norm": {"placement": "post", "final": False},
        "positions": {"kind": "sinusoidal"},
        "embedding": {"scale": True},
        "head": {"bias": True},
    }
)
VARIANTS = {
    "the paper's": {},
    "pre-norm, rotary, grouped queries": {
        "norm.placement": "pre",
        "norm.final": True,
        "positions.kind": "rotary",
        "attention.n_kv_heads": 1,
    },
    "ALiBi": {"positions.kind": "alibi"},
    "learned positions": {"positions.kind": "learned"},
    "no attention": {"sublayers": "feedforward"},
}
SEARCHES = {
    "five": {"max_length": 12},
    "greedy": {"beam_size": 1, "max_length": 12},
    "three best, mean": {
        "beam_size": 4,
        "n_best": 3,
        "length_penalty": 1.0,
        "length_penalty_form": "power",
        "max_length": 12,
    },
    "by the source's length": {"beam_size": 3, "max_length_factor": 1.5, "max_length_offset": 2},
    "no length penalty": {"length_penalty": 0.0, "max_length": 12, "n_best": 5},
    "for shorter ones": {"length_penalty": -1.0, "max_length": 12, "n_best": 2},
    "at least six": {"min_length": 6, "max_length": 12},
    "no pair twice": {"no_repeat_ngram": 2, "max_length": 14},
    "no word twice": {"no_repeat_ngram": 1, "max_length": 14, "beam_size": 3},
}


def make(seed=0, ending=1.5, **changes):
    """A model whose translations end after some tokens."""
    torch.manual_seed(seed)
    model = EncoderDecoder(CONFIG.override(changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.head.bias[END] += ending
    return model


@functools.cache
def halfway(seed=0):
    """A model that has begun to learn to copy, so that its translations end where they may, and it is unsure."""
    torch.manual_seed(seed)
    model = EncoderDecoder(CONFIG.override({"initialisation.scheme": "xavier", "d_model": 32})).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(100):
        rows = sentences(32, seed=step)
        source, padding = padded(rows)
        inputs, _ = padded([[START, *row[:-1]] for row in rows])
        logits = model(source, inputs, padding)
        loss = torch.nn.functional.cross_entropy(logits[~padding], source[~padding])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def sentences(count, *, longest=12, vocab_size=30, seed=0, end=END):
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest, (count,), generator=random).tolist()
    return [[*torch.randint(4, vocab_size, (n,), generator=random).tolist(), end] for n in lengths]


def padded(rows, pad=PAD):
    longest = max(map(len, rows))
    source = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    padding = torch.tensor([[False] * len(row) + [True] * (longest - len(row)) for row in rows])
    return source, padding


def search(models, rows, numbers=None, **options):
    config = BeamSearchConfig.build(options)
    source, padding = padded(rows)
    return beam_search(
        models, source, padding, config, start_id=START, end_id=END, forbidden=[PAD, START], rows=numbers
    )


@torch.no_grad()
def reference(models, row, config, *, start=START, end=END, forbidden=(PAD, START)):
    """One sentence, encoded afresh at each step, in plain lists, to the very end: (score, tokens, log-probability)."""
    limit = config.max_length or int(len(row) * config.max_length_factor) + config.max_length_offset
    n_candidates = 1 if config.beam_size == 1 else 2 * config.beam_size
    running, results = [(0.0, [])], []
    for length in range(1, limit + 1):
        target = torch.tensor([[start, *tokens] for _, tokens in running])
        source = torch.tensor([row] * len(running))
        each = [torch.softmax(model(source, target)[:, -1].double(), -1) for model in models]
        log_probabilities = (sum(each) / len(each)).log()
        continuations = []
        for (total, tokens), gains in zip(running, log_probabilities.tolist(), strict=True):
            for token, gain in enumerate(gains):
                n = config.no_repeat_ngram
                new = [*tokens, token]
                earlier = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
                if token in forbidden or (token == end and len(tokens) < config.min_length):
                    continue
                if n and tuple(new[-n:]) in earlier:
                    continue
                continuations.append((total + gain, new))
        candidates = sorted(continuations, reverse=True)[:n_candidates]
        stopped = [c[1][-1] == end or length == limit for c in candidates]
        penalty = ((5 + length) / 6 if config.length_penalty_form == "gnmt" else length) ** config.length_penalty
        results += [
            (c[0] / penalty, c[1], c[0])
            for c, s in list(zip(candidates, stopped, strict=True))[: config.beam_size]
            if s
        ]
        running = [c for c, s in zip(candidates, stopped, strict=True) if not s][: config.beam_size]
        if not running:
            break
    return sorted(results, reverse=True)[: config.n_best]


def with_end(hypothesis):
    return hypothesis.tokens + ([END] if hypothesis.finished else [])


@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)
def test_a_search_equals_one_that_encodes_every_prefix_afresh_and_never_stops_early(options):
    model, rows = halfway(), sentences(20)
    config = BeamSearchConfig.build(options)
    lengths = set()
    for row, found in zip(rows, search(model, rows, **options), strict=True):
        expected = reference([model], row, config)
        assert [with_end(each) for each in found] == [tokens for _, tokens, _ in expected]
        assert [each.score for each in found] == pytest.approx([score for score, _, _ in expected], abs=1e-4)
        assert [each.log_probability for each in found] == pytest.approx([total for *_, total in expected], abs=1e-4)
        lengths |= {len(each.tokens) for each in found}
    assert len(lengths) > 2  # it was no trivial search


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_whatever_the_parts_the_tree_equals_whole_sequences(changes):
    model, rows = make(**changes), sentences(8)
    config = BeamSearchConfig(beam_size=4, n_best=2, max_length=36)  # longer than the first cache
    for row, found in zip(rows, search(model, rows, beam_size=4, n_best=2, max_length=36), strict=True):
        assert [with_end(each) for each in found] == [tokens for _, tokens, _ in reference([model], row, config)]


def test_an_ensemble_takes_the_mean_of_the_probabilities():
    models, rows = [halfway(0), halfway(1)], sentences(8)
    config = BeamSearchConfig(max_length=12)
    together = search(models, rows, max_length=12)
    for row, found in zip(rows, together, strict=True):
        [(score, tokens, _)] = reference(models, row, config)
        assert with_end(found[0]) == tokens
        assert found[0].score == pytest.approx(score, abs=1e-4)
    alone = [search(model, rows, max_length=12) for model in models]
    assert any(a[0].tokens != b[0].tokens for a, b in zip(*alone, strict=True))
    twice = search([models[0], models[0]], rows, max_length=12)
    assert [each[0].tokens for each in twice] == [each[0].tokens for each in alone[0]]


@pytest.mark.parametrize(
    ("sample", "count"),
    [
        (False, 80),
        (True, 50),
        pytest.param(False, 250, marks=pytest.mark.slow(reason="the same with many more sentences")),
    ],
    ids=["search", "sample", "search among many"],
)
def test_a_sentence_s_result_does_not_depend_on_its_neighbours(sample, count):
    model, rows = halfway(), sentences(count, longest=8)
    options = {"max_length": 8, "beam_size": 4, "n_best": 2, "sample": sample}
    alone, order = {}, torch.randperm(count, generator=torch.Generator().manual_seed(7)).tolist()
    for size in (1, 7, 32):
        for first in range(0, count, size):
            numbers = order[first : first + size]
            found = search(model, [rows[n] for n in numbers], numbers, **options)
            for number, results in zip(numbers, found, strict=True):
                expected = alone.setdefault(number, results)
                assert [each.tokens for each in results] == [each.tokens for each in expected], number
                assert [each.score for each in results] == pytest.approx([each.score for each in expected], abs=1e-5)
    assert len({tuple(results[0].tokens) for results in alone.values()}) > count // 2


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 90, "d_model": 32, "max_position_embeddings": 64, "scale_embedding": True,
        "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "activation_function": "swish",
        "pad_token_id": 89, "decoder_start_token_id": 89, "eos_token_id": 0, "forced_eos_token_id": None,
    }  # fmt: skip
    theirs = MarianMTModel(MarianConfig(**sizes)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "embed_positions" not in name:
                parameter += 0.2 * torch.randn_like(parameter)
        theirs.final_logits_bias += 0.3 * torch.randn_like(theirs.final_logits_bias)
        theirs.final_logits_bias[0, 0] += 3.0
        theirs.model.shared.weight[89] = 0.0
    folder = tmp_path_factory.mktemp("marian")
    theirs.save_pretrained(folder)
    return theirs, load_marian(folder)


@pytest.mark.parametrize(
    ("beam_size", "n_best", "length_penalty"), [(5, 1, 1.0), (5, 5, 1.0), (4, 2, 0.0), (3, 3, 2.0), (2, 1, 0.6)]
)
def test_the_search_is_that_of_transformers(marian, beam_size, n_best, length_penalty):
    theirs, ours = marian
    source, padding = padded(sentences(200, vocab_size=89, end=0), pad=89)
    expected = theirs.generate(
        source,
        attention_mask=(~padding).long(),
        num_beams=beam_size,
        num_return_sequences=n_best,
        length_penalty=length_penalty,
        early_stopping=False,
        do_sample=False,
        max_length=21,  # the start counts
        bad_words_ids=[[89]],
        return_dict_in_generate=True,
        output_scores=True,
    )
    config = BeamSearchConfig(
        beam_size=beam_size,
        n_best=n_best,
        length_penalty=length_penalty,
        length_penalty_form="power",
        stopping="heuristic",
        max_length=20,
    )
    found = beam_search(ours, source, padding, config, start_id=89, end_id=0, forbidden=[89])
    flat = list(itertools.chain.from_iterable(found))
    assert len(flat) == 200 * n_best
    for each, tokens in zip(flat, expected.sequences[:, 1:].tolist(), strict=True):
        assert each.tokens == (tokens[: tokens.index(0)] if 0 in tokens else tokens)
    assert torch.allclose(torch.tensor([each.score for each in flat]), expected.sequences_scores, atol=1e-4)
    assert any(each.finished for each in flat)


def test_a_wide_beam_finds_the_best_of_all_translations():
    model = make(vocab_size=7, ending=0.0)
    allowed = [token for token in range(7) if token not in (PAD, START, END)]
    [[found]] = search(model, [[4, 5, END]], beam_size=70, max_length=4, length_penalty=1.0)
    scores = {}
    for length in range(1, 5):
        for body in itertools.product(allowed, repeat=length - 1):
            for last in [END, *allowed] if length == 4 else [END]:
                tokens = [*body, last]
                logits = model(torch.tensor([[4, 5, END]]), torch.tensor([[START, *tokens[:-1]]]))[0]
                total = torch.log_softmax(logits, -1)[range(length), tokens].sum().item()
                scores[tuple(tokens)] = total / ((5 + length) / 6)
    best = max(scores, key=scores.get)
    assert tuple(with_end(found)) == best
    assert found.score == pytest.approx(scores[best], abs=1e-5)


def test_the_log_probabilities_are_the_model_s_own_and_the_scores_are_sorted():
    model, rows = halfway(), sentences(20)
    for row, results in zip(rows, search(model, rows, n_best=5, max_length=10), strict=True):
        assert len(results) == 5
        assert [each.score for each in results] == sorted((each.score for each in results), reverse=True)
        assert len({tuple(with_end(each)) for each in results}) == 5
        for each in results:
            tokens = with_end(each)
            logits = model(torch.tensor([row]), torch.tensor([[START, *tokens[:-1]]]))[0]
            gains = torch.log_softmax(logits, -1)[range(len(tokens)), tokens]
            assert each.token_log_probabilities == pytest.approx(gains.tolist(), abs=1e-4)
            assert each.log_probability == pytest.approx(sum(each.token_log_probabilities))
            assert each.score == pytest.approx(each.log_probability / ((5 + len(tokens)) / 6) ** 0.6, abs=1e-5)


def test_a_translation_that_reaches_the_limit_is_unfinished_and_one_that_ends_is_not():
    never, at_once = make(ending=-1e9), make(ending=1e4)
    for [each] in search(never, sentences(5), max_length=7):
        assert not each.finished
        assert len(each.tokens) == len(each.token_log_probabilities) == 7
    for [each] in search(at_once, sentences(5), max_length=7):
        assert each.finished
        assert each.tokens == []
    for row, [each] in zip(
        rows := sentences(5), search(never, rows, max_length_factor=2, max_length_offset=3), strict=True
    ):
        assert len(each.tokens) == 2 * len(row) + 3
    [[each]] = search(never, [[4, END]], max_length=10_000)
    assert len(each.tokens) == CONFIG.max_seq_len


def test_the_least_length_is_kept_and_no_run_of_tokens_comes_twice():
    for [each] in search(make(ending=1e4), sentences(10), min_length=5, max_length=9):
        assert len(each.tokens) == 5
        assert each.finished
    repeated = 0
    for n in (1, 2, 3):
        model, rows = make(ending=-3.0), sentences(20)
        for [each] in search(model, rows, no_repeat_ngram=n, max_length=20):
            runs = [tuple(each.tokens[i : i + n]) for i in range(len(each.tokens) - n + 1)]
            assert len(runs) == len(set(runs))
        for [each] in search(model, rows, max_length=20):
            runs = [tuple(each.tokens[i : i + n]) for i in range(len(each.tokens) - n + 1)]
            repeated += len(runs) > len(set(runs))
    assert repeated > 0  # without the rule there would have been some


def test_the_least_length_makes_room_for_itself_and_no_length_is_beyond_the_model():
    config = BeamSearchConfig(min_length=20, max_length_factor=1.0, max_length_offset=4)
    assert config.limits(torch.tensor([3, 30]), 40).tolist() == [21, 34]
    for longest in ({"max_length": 10**15}, {"max_length_offset": 10**15}, {"max_length_factor": 1e30}):
        assert BeamSearchConfig(**longest).limits(torch.tensor([3]), 40).tolist() == [40]
    assert BeamSearchConfig(min_length=10**15).limits(torch.tensor([3]), 40).tolist() == [40]


@pytest.mark.parametrize("length_penalty", [-5.0, 5.0])
@pytest.mark.parametrize("form", ["gnmt", "power"])
def test_the_most_extreme_length_penalty_still_ends_with_a_finite_score(length_penalty, form):
    found = search(make(), sentences(4), length_penalty=length_penalty, length_penalty_form=form)
    assert all(math.isfinite(each.score) for [each] in found)


def test_of_no_sentences_there_are_no_translations():
    nothing = torch.empty(0, 3, dtype=torch.long)
    assert beam_search(make(), nothing, None, BeamSearchConfig(), start_id=START, end_id=END) == []


def test_where_everything_is_forbidden_there_is_no_translation():
    [found] = search(make(vocab_size=7), [[4, END]], no_repeat_ngram=1, min_length=8, max_length=12)
    assert found == []


def test_sampling_draws_what_the_model_says():
    model = make()
    rows = [[4, 5, END]] * 40
    drawn = [
        each
        for results in search(model, rows, sample=True, beam_size=100, n_best=100, max_length=1)
        for each in results
    ]
    probabilities = torch.softmax(model(torch.tensor(rows[:1]), torch.tensor([[START]]))[0, 0], -1)
    probabilities[[PAD, START]] = 0.0
    probabilities /= probabilities.sum()
    counts = torch.bincount(torch.tensor([with_end(each)[0] for each in drawn]), minlength=30)
    assert counts.sum() == 4000
    spread = (probabilities * (1 - probabilities) / 4000).sqrt()
    assert ((counts / 4000 - probabilities).abs() <= 5 * spread + 1e-9).all()


def test_a_sample_follows_its_seed_and_top_k_of_one_is_greedy():
    model, rows = make(ending=0.0), sentences(10)
    options = {"sample": True, "beam_size": 3, "n_best": 3, "max_length": 10}
    first, again = search(model, rows, **options), search(model, rows, **options)
    assert first == again
    assert first != search(model, rows, **options, seed=1)
    assert all(len(results) == 3 for results in first)
    greedy = search(model, rows, beam_size=1, max_length=10)
    narrow = search(model, rows, **options, top_k=1)
    for [expected], results in zip(greedy, narrow, strict=True):
        assert [each.tokens for each in results] == [expected.tokens] * 3
        assert results[0].score == pytest.approx(expected.score, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(4, 300), st.integers(1, 10), st.integers(0, 1000), st.booleans()
)
def test_two_rounds_find_the_largest_of_all_continuations(n, width, vocab_size, k, seed, forbids):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, width, vocab_size, generator=random) * 10
    before = torch.randn(n, width, generator=random)
    forbidden = torch.randperm(vocab_size, generator=random)[: 2 if forbids else 0]
    table = torch.log_softmax(logits, -1) + before[..., None]
    table[..., forbidden] = -math.inf
    following = Continuations(logits.clone(), forbidden)
    assert torch.allclose(following.normaliser, logits.logsumexp(-1))
    totals, parents, tokens = following.best(before, k)
    expected = table.flatten(1).topk(min(k, width * vocab_size)).values
    assert torch.allclose(totals, expected, atol=1e-4)
    possible = totals > -math.inf
    found = table[torch.arange(n)[:, None], parents, tokens]
    assert torch.allclose(found[possible], totals[possible], atol=1e-4)
    for row in range(n):
        pairs = list(zip(parents[row, possible[row]].tolist(), tokens[row, possible[row]].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(("store", "least"), [("fp32", 1.0), ("bf16", 0.7), ("int8", 0.7)])
def test_stored_in_fewer_bytes_a_translator_says_nearly_the_same(store, least):
    model, rows = halfway(), sentences(40)
    twin = decoding_copy(model, store)
    source, padding = padded(rows)
    target = torch.tensor([[START, 5, 6, 7]] * 40)
    exact, near = model(source, target, padding), twin(source, target, padding)
    assert (near - exact).norm() <= (1e-6 if store == "fp32" else 0.03) * exact.norm()
    expected, found = search(model, rows, max_length=10), search(twin, rows, max_length=10)
    assert sum(a[0].tokens == b[0].tokens for a, b in zip(expected, found, strict=True)) >= least * 40


def test_an_alignment_is_a_distribution_over_the_source_and_ignores_pads():
    model, rows = halfway(), sentences(12)
    translations = [results[0].tokens for results in search(model, rows, max_length=9)]
    together = align(model, *padded(rows), translations, start_id=START)
    for row, tokens, found in zip(rows, translations, together, strict=True):
        assert found.shape == (len(tokens), len(row))
        assert torch.allclose(found.sum(1), torch.ones(len(tokens)), atol=1e-5)
        [alone] = align(model, torch.tensor([row]), None, [tokens], start_id=START)
        assert torch.allclose(alone, found, atol=1e-5)
    first = align(model, *padded(rows), translations, start_id=START, layer=0)
    assert all(torch.equal(a, b) for a, b in zip(first, together, strict=True))  # of two layers, the last but one
    last = align(model, *padded(rows), translations, start_id=START, layer=-1)
    assert any(not torch.allclose(a, b, atol=1e-3) for a, b in zip(first, last, strict=True))


def test_an_alignment_follows_the_attention():
    model = make()
    attention = model.decoder.blocks[0].cross_attention
    with torch.no_grad():  # queries of zero look at everything alike
        attention.w_q.weight.zero_()
        attention.w_q.bias.zero_()
    [found] = align(model, torch.tensor([[4, 5, 6, END]]), None, [[7, 8]], start_id=START)
    assert torch.allclose(found, torch.full((2, 4), 0.25))


def test_settings_that_cannot_work_are_refused_all_at_once():
    with pytest.raises(ConfigError) as refused:
        BeamSearchConfig.build(
            {"beam_size": 2, "n_best": 3, "min_length": 9, "max_length": 9, "max_length_offset": 4, "top_k": 5}
        )
    assert len(refused.value.complaints) == 4
    for wrong in ({"beam_size": 0}, {"temperature": 0.0, "sample": True}, {"stopping": "exact", "beem": 1}):
        with pytest.raises(ConfigError):
            BeamSearchConfig.build(wrong)
    with pytest.raises(ConfigError, match="stopping=heuristic has no effect"):
        BeamSearchConfig.build({"sample": True, "stopping": "heuristic"})


def test_a_model_that_diverged_and_a_source_that_is_too_long_are_refused():
    model = make()
    with pytest.raises(DataError, match="length is 40"):
        search(model, [[5] * 41])
    with torch.no_grad():
        model.head.bias[7] = math.nan
    with pytest.raises(GlassformerError, match="not finite"):
        search(model, sentences(3))
