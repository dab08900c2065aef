from __future__ import annotations

import functools

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from glassformer.data.sentence_tokenizers import PairTokenizer, WordTokenizer
from glassformer.errors import ConfigError, DataError
from glassformer.generation import BeamSearchConfig, DecodingConfig, Translator, beam_search, translate
from glassformer.models.config import ModelConfig
from glassformer.models.encoder_decoder import EncoderDecoder

WORDS = [
    "ein",
    "Hund",
    "rennt",
    "durch",
    "das",
    "hohe",
    "Gras",
    "und",
    "eine",
    "Katze",
    "schläft",
    "auf",
    "dem",
    "Dach",
]
LINES = [" ".join(WORDS[first : first + length]) for first in range(6) for length in (1, 2, 4, 5, 7)]
GERMAN = WordTokenizer.train([" ".join(WORDS)])
ENGLISH = WordTokenizer.train(["a dog runs through the tall grass and a cat sleeps on the roof"])
PAIR = PairTokenizer(GERMAN, ENGLISH)
CONFIG = ModelConfig.build(
    {
        "vocab_size": ENGLISH.vocab_size,
        "source_vocab_size": GERMAN.vocab_size,
        "max_seq_len": 16,
        "d_model": 32,
        "n_layers": 2,
        "n_encoder_layers": 1,
        "attention": {"n_heads": 2},
        "positions": {"kind": "sinusoidal"},
        "embedding": {"source": "own"},
        "dropout": 0.1,
        "initialisation": {"scheme": "xavier"},
    }
)
SEARCH = BeamSearchConfig(beam_size=3, n_best=2, max_length=6)


@functools.cache
def weights(seed):
    """Of a model that has begun to learn a word for each word."""
    torch.manual_seed(seed)
    model = EncoderDecoder(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        lengths = torch.randint(1, 8, (32,)).tolist()
        rows = [torch.randint(4, ENGLISH.vocab_size, (length,)) for length in lengths]
        end, start = torch.tensor([ENGLISH.end_id]), torch.tensor([ENGLISH.start_id])
        source = pad_sequence([torch.cat((row, end)) for row in rows], batch_first=True)
        inputs = pad_sequence([torch.cat((start, row)) for row in rows], batch_first=True)
        logits = model(source, inputs, source == 0)
        loss = cross_entropy(logits.flatten(0, 1), source.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


def make(seed=1):
    """In training mode, as a trainer leaves it."""
    model = EncoderDecoder(CONFIG)
    model.load_state_dict(weights(seed))
    return model


def test_each_line_has_its_translation_in_the_order_of_the_lines_whatever_the_batches():
    model = make()
    alone = [translate(model, PAIR, [line], SEARCH)[0] for line in LINES]
    assert len({each.text for each in alone}) > 5
    for batch_tokens in (None, 1, 20):
        together = translate(model, PAIR, LINES, SEARCH, batch_tokens=batch_tokens)
        assert [each.text for each in together] == [each.text for each in alone]
        assert [each.score for each in together] == pytest.approx([each.score for each in alone], abs=1e-5)
        for line, each in zip(LINES, together, strict=True):
            assert each.source_pieces == [*line.split(), "</s>"]
            assert [h.text for h in each.hypotheses] == [ENGLISH.decode(h.tokens) for h in each.hypotheses]
            assert (each.text, each.score) == (each.hypotheses[0].text, each.hypotheses[0].score)
            assert each.pieces == ENGLISH.pieces(each.hypotheses[0].tokens)
            assert len(each.hypotheses) == 2
            assert not each.truncated
            assert each.alignment is None
    assert model.training  # the model is as it was


def test_a_translation_is_the_search_s_result():
    model = make().eval()
    line = "eine Katze schläft"
    source = torch.tensor([[*GERMAN.encode(line), GERMAN.end_id]])
    [expected] = beam_search(
        model, source, None, SEARCH, start_id=ENGLISH.start_id, end_id=ENGLISH.end_id, forbidden=[0, 2]
    )
    [found] = translate(model, PAIR, [line], SEARCH)
    assert [each.tokens for each in found.hypotheses] == [each.tokens for each in expected]
    assert [each.score for each in found.hypotheses] == pytest.approx([each.score for each in expected])


def test_empty_lines_are_empty_translations_and_no_model_sees_them():
    model = make()
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    model.encode = lambda *_: pytest.fail("the model was run")
    for each in translate(model, PAIR, ["", " \t\r\n", "\u3000"], SEARCH, alignment=True):
        assert (each.text, each.score, each.pieces) == ("", 0.0, [])
        assert each.alignment.shape == (0, 1)
        assert [h.text for h in each.hypotheses] == [""]
    assert translate(model, PAIR, [], SEARCH) == []


def test_empty_lines_among_others_keep_their_places():
    model = make()
    mixed = translate(model, PAIR, ["", LINES[0], "  ", LINES[4], ""], SEARCH)
    plain = translate(model, PAIR, [LINES[0], LINES[4]], SEARCH)
    assert [each.text for each in mixed] == ["", plain[0].text, "", plain[1].text, ""]


def test_a_line_that_is_too_long_is_shortened_and_says_so():
    model = make()
    long, short = " ".join(WORDS * 3), " ".join((WORDS * 3)[:15])
    cut, whole = translate(model, PAIR, [long, short], SEARCH)
    assert cut.truncated
    assert not whole.truncated
    assert cut.text == whole.text
    assert len(cut.source_pieces) == CONFIG.max_seq_len


def test_an_alignment_has_a_row_for_each_piece_and_a_column_for_each_source_piece():
    for each in translate(make(), PAIR, LINES, SEARCH, alignment=True):
        assert each.alignment.shape == (len(each.pieces), len(each.source_pieces))
        assert torch.allclose(each.alignment.sum(1), torch.ones(len(each.pieces)), atol=1e-5)


def test_progress_goes_from_nothing_to_all_lines():
    seen = []
    translate(
        make(), PAIR, ["", *LINES], SEARCH, batch_tokens=16, progress=lambda done, total: seen.append((done, total))
    )
    done = [each for each, _ in seen]
    assert seen[0] == (1, 31)  # the empty line
    assert seen[-1] == (31, 31)
    assert done == sorted(done)
    assert len(done) > 3


def test_samples_of_a_line_depend_on_its_place_and_not_on_its_batch():
    sampling = BeamSearchConfig(sample=True, beam_size=2, n_best=2, max_length=6)
    translator = Translator(make(), PAIR, sampling)
    small = Translator(make(), PAIR, sampling, batch_tokens=1)
    found = translator(LINES)
    assert [each.text for each in found] == [each.text for each in small(LINES)]
    same = translator([LINES[3]] * 6)
    assert len({each.text for each in same}) > 1


@pytest.mark.parametrize("decoding", [DecodingConfig(precision="bf16"), DecodingConfig(quantize="int8")])
def test_fewer_bytes_change_little(decoding):
    model = make()
    exact = translate(model, PAIR, LINES, SEARCH)
    near = translate(model, PAIR, LINES, SEARCH, decoding=decoding)
    assert sum(a.text == b.text for a, b in zip(exact, near, strict=True)) >= 0.6 * len(LINES)
    assert [each.score for each in near] == pytest.approx([each.score for each in exact], abs=0.3)
    assert any(a.score != b.score for a, b in zip(exact, near, strict=True))


def test_an_ensemble_is_not_one_of_its_models():
    one, other = make(0), make(1)
    together = translate([one, other], PAIR, LINES, SEARCH)
    alone = translate(one, PAIR, LINES, SEARCH)
    twice = translate([one, one], PAIR, LINES, SEARCH)
    assert [each.text for each in twice] == [each.text for each in alone]
    assert [each.text for each in together] != [each.text for each in alone]


def test_what_does_not_belong_together_is_refused_all_at_once():
    with pytest.raises(ConfigError) as refused:
        Translator(
            make(), PairTokenizer(ENGLISH, GERMAN), decoding=DecodingConfig(compile="on", stride=3), batch_tokens=0
        )
    assert len(refused.value.complaints) == 5
    with pytest.raises(ConfigError, match="no model"):
        Translator([], PAIR)
    with pytest.raises(DataError):
        translate(make(), PAIR, ["half a pair \ud800"], SEARCH)
