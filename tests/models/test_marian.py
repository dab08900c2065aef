"""Marian in and out, against transformers and CTranslate2 at random weights."""

from __future__ import annotations

import json
import random
from pathlib import Path

import ctranslate2
import pytest
import torch
from ctranslate2.converters import TransformersConverter
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence
from transformers import MarianConfig, MarianMTModel

from glassformer.data.marian_tokenizers import save_for_transformers
from glassformer.data.sentence_tokenizers import PairTokenizer, WordTokenizer
from glassformer.errors import ConfigError, DataError
from glassformer.generation.beam_search import beam_search
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.models.config import ModelConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.marian import config_from_marian, load_marian, special_ids
from glassformer.models.marian_export import save_marian
from glassformer.models.marian_layout import SpecialIds, marian_order
from glassformer.models.presets import preset

VOCABULARY, PAD = 61, 60
OURS = SpecialIds()

IMPORTED = {
    "opus-mt": {},
    "relu": {"activation_function": "relu"},
    "gelu, deep decoder": {"activation_function": "gelu", "decoder_layers": 3, "encoder_layers": 1},
    "not scaled": {"scale_embedding": False},
    "two vocabularies": {"share_encoder_decoder_embeddings": False, "vocab_size": 80, "decoder_vocab_size": 70},
    "two matrices": {"share_encoder_decoder_embeddings": False},
    "three matrices": {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
}
EXPORTED = {
    "opus-mt": {},
    "relu": {"feedforward.kind": "relu"},
    "gelu-tanh": {"feedforward.kind": "gelu-tanh"},
    "separate projections": {"attention.projection": "separate"},
    "no biases": {"attention.bias": False, "feedforward.bias": False, "norm.bias": False, "head.bias": False},
    "the paper's sines": {"positions.options": {"layout": "interleaved"}},
    "learned positions": {"positions.kind": "learned", "positions.options": {}},
    "not scaled": {"embedding.scale": False},
    "rows rounded up": {"pad_vocab_to": 64},
    "two vocabularies": {"embedding.source": "own", "source_vocab_size": 80},
    "a smaller source": {"embedding.source": "own", "source_vocab_size": 40, "head.tied": False},
    "two matrices": {"embedding.source": "own"},
    "three matrices": {"embedding.source": "own", "head.tied": False},
    "encoder shares the head": {"embedding.source": "head", "head.tied": False},
}


def theirs(**changes):
    sizes = {
        "vocab_size": VOCABULARY,
        "d_model": 24,
        "max_position_embeddings": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 3,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 40,
        "activation_function": "swish",
        "scale_embedding": True,
        "pad_token_id": PAD,
        "decoder_start_token_id": PAD,
        "eos_token_id": 0,
    }
    torch.manual_seed(0)
    model = MarianMTModel(MarianConfig(**(sizes | changes))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter += 0.3 * torch.randn_like(parameter)
        for name, matrix in model.named_parameters():
            if "shared" in name or "embed_tokens" in name:
                matrix[PAD] = 0.0
        model.final_logits_bias += torch.randn_like(model.final_logits_bias)
    return model


def ours(**changes):
    settings = {
        "vocab_size": VOCABULARY,
        "max_seq_len": 32,
        "d_model": 24,
        "n_layers": 2,
        "n_encoder_layers": 3,
        "attention.n_heads": 3,
        "feedforward.d_ff": 40,
    }
    torch.manual_seed(1)
    model = EncoderDecoder(preset("opus-mt").model.override(settings | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def batch(model, end, start, pad):
    """Random sentences with pads: source, its padding, target."""
    draw = torch.Generator().manual_seed(2)
    source = torch.randint(4, min(model.config.encoder_vocab_size, PAD), (6, 9), generator=draw)
    target = torch.randint(4, PAD, (6, 8), generator=draw)
    padding = torch.arange(9) >= torch.tensor([9, 5, 7, 1, 2, 9])[:, None]
    source[~padding & (torch.arange(9) == (~padding).sum(1, keepdim=True) - 1)] = end
    target[:, 0] = start
    return source.masked_fill(padding, pad), padding, target


def hf_logits(model, source, padding, target):
    return model(input_ids=source, attention_mask=(~padding).long(), decoder_input_ids=target).logits


def moved(ids, order, *, start):
    """Our ids as the exported model has them; the start is its pad."""
    there = {token: index for index, token in enumerate(order)} | {start: order.index(OURS.pad)}
    return ids.clone().apply_(there.__getitem__)


def edit(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))


@pytest.fixture
def folder(tmp_path):
    theirs().save_pretrained(tmp_path / "marian")
    return tmp_path / "marian"


# --- logits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IMPORTED)
@torch.no_grad()
def test_imported_logits_are_the_originals(kind, tmp_path):
    original = theirs(**IMPORTED[kind])
    original.save_pretrained(tmp_path)
    model = load_marian(tmp_path)
    assert not model.training
    source, padding, target = batch(model, 0, PAD, PAD)
    expected = hf_logits(original, source, padding, target)
    torch.testing.assert_close(model(source, target, padding), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.5  # they differ from one another


@pytest.mark.parametrize("kind", EXPORTED)
@torch.no_grad()
def test_exported_logits_are_the_originals_in_the_order_of_the_exported_vocabulary(kind, tmp_path):
    model = ours(**EXPORTED[kind])
    save_marian(model, tmp_path)
    exported, report = MarianMTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report  # nothing missing, unexpected or of another shape
    joint = model.config.encoder_vocab_size == VOCABULARY
    orders = [marian_order(size, OURS, joint=joint) for size in (model.config.encoder_vocab_size, VOCABULARY)]
    source, padding, target = batch(model, OURS.end, OURS.start, OURS.pad)
    their_source = moved(source, orders[0], start=OURS.start)
    their_target = moved(target, orders[1], start=OURS.start)
    logits = hf_logits(exported.eval(), their_source, padding, their_target)
    for index, token in enumerate(orders[1]):
        if token != OURS.pad:  # which is made the start, and never written
            expected = model(source, target, padding)[..., token]
            torch.testing.assert_close(logits[..., index], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", EXPORTED)
@torch.no_grad()
def test_an_exported_model_comes_back_with_its_own_ids(kind, tmp_path):
    model = ours(**EXPORTED[kind])
    joint = model.config.encoder_vocab_size == VOCABULARY
    save_marian(model, tmp_path)
    again = load_marian(tmp_path, ids=OURS, joint=joint)
    assert again.config.vocab_size == VOCABULARY
    assert again.config.positions == model.config.positions
    source, padding, target = batch(model, OURS.end, OURS.start, OURS.pad)
    written = [token for token in range(VOCABULARY) if token not in (OURS.pad, OURS.start)]
    came, expected = (each(source, target, padding)[..., written] for each in (again, model))
    torch.testing.assert_close(came, expected, atol=1e-5, rtol=0)


def test_an_imported_model_goes_out_bit_for_bit(folder, tmp_path):
    save_marian(load_marian(folder), tmp_path / "out", ids=special_ids(folder))
    before, after = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "out"))
    assert before.keys() - after.keys() <= {"lm_head.weight"}  # tied: held once
    assert not any("embed_positions" in name for name in after)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name


@torch.no_grad()
def test_a_start_that_was_trained_after_the_import_goes_out_with_the_model(folder, tmp_path):
    model = load_marian(folder)
    model.decoder.embedding.tokens.weight[PAD] += torch.randn(24)
    save_marian(model, tmp_path / "out", ids=special_ids(folder))
    exported = MarianMTModel.from_pretrained(tmp_path / "out").eval()
    assert not exported.model.shared.weight[PAD].any()  # CTranslate2 starts from zero
    source, padding, target = batch(model, 0, PAD, PAD)
    expected = model(source, target, padding)
    logits = hf_logits(exported, source, padding, target)
    torch.testing.assert_close(logits[..., :PAD], expected[..., :PAD], atol=1e-5, rtol=0)
    again = load_marian(tmp_path / "out")
    torch.testing.assert_close(again(source, target, padding), expected, atol=1e-5, rtol=0)


def test_importing_draws_no_random_number(folder):
    before = torch.get_rng_state()
    load_marian(folder)
    assert torch.equal(before, torch.get_rng_state())


@torch.no_grad()
def test_older_files_read_alike_pickled_without_prefix_with_tables_and_half_precision(folder):
    model = load_marian(folder)
    source, padding, target = batch(model, 0, PAD, PAD)
    expected = model(source, target, padding)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    whole = theirs().state_dict()
    assert "model.encoder.embed_positions.weight" in whole
    torch.save(whole, folder / "pytorch_model.bin")
    assert torch.equal(load_marian(folder)(source, target, padding), expected)
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    torch.save(bare, folder / "pytorch_model.bin")
    assert torch.equal(load_marian(folder)(source, target, padding), expected)
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    half = load_marian(folder)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half(source, target, padding), expected, atol=0.05, rtol=0)


def test_a_pickle_that_would_run_code_is_refused(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"run": Path("/")}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="more than tensors"):
        load_marian(folder)


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activation_function": "tanh"}, "activation_function is 'tanh'"),
        ({"model_type": "bart"}, "model_type is 'bart'"),
        ({"encoder_attention_heads": 6}, "encoder_attention_heads is 6 and decoder_attention_heads 3"),
        ({"normalize_before": True}, "normalize_before"),
        ({"add_final_layer_norm": True}, "add_final_layer_norm"),
        ({"decoder_layerdrop": 0.1}, "decoder_layerdrop is 0.1"),
        ({"d_model": "wide"}, "d_model is 'wide'"),
        ({"activation_function": ["relu"]}, r"activation_function is \['relu'\]"),
        ({"scale_embedding": "yes"}, "embedding.scale is 'yes'"),
        ({"share_encoder_decoder_embeddings": "no"}, "share_encoder_decoder_embeddings is 'no'"),
        ({"decoder_start_token_id": 5}, "decoder_start_token_id is 5 and pad_token_id 60"),
    ],
)
def test_settings_we_do_not_compute_are_refused_by_name(folder, changes, named):
    edit(folder, **changes)
    with pytest.raises(ConfigError, match=named):
        load_marian(folder)


def test_all_strange_settings_are_named_at_once(folder):
    edit(folder, activation_function="tanh", normalize_before=True, encoder_ffn_dim=7)
    with pytest.raises(ConfigError) as caught:
        load_marian(folder)
    assert len(caught.value.complaints) == 3


@pytest.mark.parametrize("pad", [None, "last", VOCABULARY, -1])
def test_ids_outside_the_vocabulary_are_refused(folder, pad):
    edit(folder, pad_token_id=pad)
    with pytest.raises(DataError, match="should be tokens of the vocabulary"):
        load_marian(folder)


def test_more_layers_than_the_file_holds_are_refused_before_a_model_is_made(folder):
    edit(folder, decoder_layers=2_000)
    with pytest.raises(DataError, match="layers of the decoder; config.json says 2,000"):
        load_marian(folder)


def test_tensors_that_do_not_fit_are_all_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.decoder.layers.1.fc2.bias"]
    del tensors["model.encoder.layers.0.self_attn.k_proj.weight"]
    tensors["model.encoder.layers.0.fc1.weight"] = torch.zeros(24, 7)
    tensors["model.encoder.layers.9.fc1.weight"] = torch.zeros(24)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError) as caught:
        load_marian(folder)
    told = str(caught.value)
    assert "model.decoder.layers.1.fc2.bias is missing" in told
    assert "model.encoder.layers.0.self_attn.k_proj.weight is missing" in told
    assert "model.encoder.layers.0.fc1.weight has the shape [24, 7]; config.json says [40, 24]" in told
    assert "model.encoder.layers.9.fc1.weight has no place" in told


@pytest.mark.parametrize(
    ("name", "shape"), [("model.shared.weight", (9, 24)), ("final_logits_bias", (1, 9)), ("lm_head.weight", (61, 5))]
)
def test_vocabularies_of_another_size_are_named(folder, name, shape):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: torch.zeros(shape)}, folder / "model.safetensors")
    with pytest.raises(DataError, match=f"{name} has the shape"):
        load_marian(folder)


def test_a_model_without_its_token_vectors_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    for name in list(tensors):
        if tensors[name].shape[0] == VOCABULARY:
            del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError, match="lm_head.weight is missing"):
        load_marian(folder)


def test_a_tied_model_with_another_head_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.shared.weight"] + 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError, match="tie_word_embeddings"):
        load_marian(folder)


def test_a_model_that_marian_cannot_hold_is_refused_with_every_reason(tmp_path):
    model = ours(
        **{
            "norm.kind": "rmsnorm",
            "norm.placement": "pre",
            "norm.final": True,
            "positions.kind": "rotary",
            "positions.options": {},
            "attention.n_kv_heads": 1,
            "feedforward.kind": "swiglu",
        }
    )
    with pytest.raises(ConfigError) as caught:
        save_marian(model, tmp_path / "out")
    assert len(caught.value.complaints) == 6
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.placement": "pre"},
        {"norm.final": True},
        {"norm.eps": 1e-6},
        {"norm.kind": "annotated-layernorm"},
        {"positions.kind": "alibi", "positions.options": {}},
        {"positions.kind": "none", "positions.options": {}},
        {"attention.n_kv_heads": 1},
        {"attention.d_head": 4},
        {"attention.scale": False},
        {"attention.qk_norm": "rmsnorm"},
        {"attention.projection": "shared"},
        {"feedforward.kind": "relu2"},
        {"feedforward.convolution": True},
        {"residual": "none"},
        {"sublayers": "attention"},
    ],
)
def test_each_single_difference_from_marian_is_refused(changes, tmp_path):
    with pytest.raises(ConfigError) as caught:
        save_marian(ours(**changes), tmp_path)
    assert len(caught.value.complaints) == 1
    assert next(iter(changes)) in caught.value.complaints[0]


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        save_marian(ours(), tmp_path / "file" / "out")


def test_the_preset_is_the_shape_of_opus_mt():
    settings = {
        "model_type": "marian",
        "vocab_size": 58_101,
        "d_model": 512,
        "max_position_embeddings": 512,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "activation_function": "swish",
        "scale_embedding": True,
        "static_position_embeddings": True,
    }
    same = {"initialisation": preset("opus-mt").model.to_dict()["initialisation"]}
    assert ModelConfig.build(config_from_marian(settings).to_dict() | same) == preset("opus-mt").model


def test_an_order_holds_every_token_but_the_start_once():
    for joint in (True, False):
        order = marian_order(9, OURS, joint=joint)
        assert sorted(order) == [0, 1, 3, 4, 5, 6, 7, 8]
        assert order[0] == OURS.end
    assert marian_order(9, OURS)[-1] == OURS.pad  # where CTranslate2's converter takes it off
    assert marian_order(9, SpecialIds(pad=8, start=8, end=0)) == list(range(9))


# --- translations ---------------------------------------------------------------------------------------------------

LIMIT, SENTENCES, BEAM = 24, 200, 5
TIES = 2  # sentences


def translator(changes):
    """A model at random weights that ends its sentences, and each in its own way.

    Nothing is learned, so that the same sentences come out on every processor. Gains of random sign in the norms keep a
    token's vector from predicting the token itself.
    """
    config = ours(**changes).config
    torch.manual_seed(1)
    model = EncoderDecoder(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(torch.randn_like(parameter).sign())
            else:
                parameter.normal_(std=0.1)
        model.head.bias[OURS.end] = 1.5
        model.head.bias[[OURS.pad, OURS.start]] = -1e4
    return model


def differing(translations, others) -> int:
    """How many sentences are translated otherwise: a few, where rounding decides between two equally good tokens."""
    return sum(mine != theirs for mine, theirs in zip(translations, others, strict=True))


class Three:
    """One model of ours in three programs, and what each makes of the same random sentences."""

    def __init__(self, folder, changes):
        self.model = translator(changes)
        self.tokenizer = WordTokenizer(["<pad>", "<unk>", "<s>", "</s>", *(f"w{n}" for n in range(4, VOCABULARY))])
        self.order = marian_order(VOCABULARY, OURS)
        save_marian(self.model, folder)
        pair = PairTokenizer(self.tokenizer, self.tokenizer)
        save_for_transformers(pair, folder, self.order, self.order, 32)
        converted = TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"))
        self.ctranslate2 = ctranslate2.Translator(converted, device="cpu", intra_threads=1, inter_threads=1)
        self.transformers = MarianMTModel.from_pretrained(folder).eval()
        draw = random.Random(3)
        self.sentences = [[draw.randrange(4, VOCABULARY) for _ in range(draw.randint(1, 9))] for _ in range(SENTENCES)]
        rows = [torch.tensor([*sentence, OURS.end]) for sentence in self.sentences]
        self.source = pad_sequence(rows, batch_first=True, padding_value=OURS.pad)
        self.padding = self.source == OURS.pad

    def by_us(self, stopping="exact", beam_size=BEAM):
        config = BeamSearchConfig(
            beam_size=beam_size,
            length_penalty=1.0,
            length_penalty_form="power",
            stopping=stopping,
            max_length=LIMIT,
        )
        forbidden = (OURS.pad, OURS.start)
        found = beam_search(
            self.model, self.source, self.padding, config, start_id=OURS.start, end_id=OURS.end, forbidden=forbidden
        )
        return [results[0].tokens for results in found]

    def by_transformers(self, **changes):
        source = moved(self.source, self.order, start=OURS.start)
        changes = {"max_length": LIMIT + 1, "forced_eos_token_id": None} | changes
        rows = self.transformers.generate(source, attention_mask=(~self.padding).long(), **changes)[:, 1:]
        translations = []
        for row in rows.tolist():
            tokens = [self.order[token] for token in row]
            ends = [place for place, token in enumerate(tokens) if token in (OURS.end, OURS.pad)]
            translations.append(tokens[: ends[0]] if ends else tokens)
        return translations

    def by_ctranslate2(self, **changes):
        options = {"max_decoding_length": LIMIT, "min_decoding_length": 0} | changes
        words = [[*self.tokenizer.pieces(sentence), "</s>"] for sentence in self.sentences]
        results = self.ctranslate2.translate_batch(words, **options)
        return [[self.tokenizer.id_of[word] for word in result.hypotheses[0]] for result in results]


@pytest.fixture(scope="module", params=["opus-mt", "the paper's sines", "three matrices"])
def three(request, tmp_path_factory):
    return Three(tmp_path_factory.mktemp("exported"), EXPORTED[request.param])


def test_greedy_translations_are_the_same_in_all_three(three):
    greedy = three.by_us(beam_size=1)
    assert len({len(translation) for translation in greedy}) > 4  # a model that ends at once, or never, shows nothing
    assert differing(three.by_transformers(num_beams=1), greedy) <= TIES
    assert differing(three.by_ctranslate2(beam_size=1), greedy) <= TIES


def test_beams_of_five_are_the_same_in_all_three(three):
    """Searched until nothing better can come: "never" there, and CTranslate2's patience for many results."""
    beam = three.by_us()
    assert len({tuple(translation) for translation in beam}) > 20
    assert differing(beam, three.by_us(beam_size=1)) > TIES
    assert differing(three.by_transformers(early_stopping="never"), beam) <= TIES
    assert differing(three.by_ctranslate2(beam_size=BEAM, patience=100), beam) <= TIES


def test_each_way_to_stop_is_the_same_where_two_have_it(three):
    assert differing(three.by_transformers(early_stopping=False), three.by_us("heuristic")) <= TIES
    exported = three.by_transformers()  # as the exported generation_config.json says
    assert differing(exported, three.by_ctranslate2(beam_size=BEAM)) <= TIES


def test_what_generate_does_unless_told_otherwise_is_in_the_folder(three):
    said = three.transformers.generation_config
    pad = VOCABULARY - 2
    assert (said.num_beams, said.max_length, said.bad_words_ids) == (BEAM, 32, [[pad]])
    assert (said.pad_token_id, said.decoder_start_token_id, said.eos_token_id) == (pad, pad, 0)
    assert said.forced_eos_token_id == 0


def test_an_imported_model_translates_as_the_original(tmp_path):
    """Beams of five over 200 sentences of random tokens, against MarianMTModel itself."""
    original = theirs()
    with torch.no_grad():
        original.final_logits_bias[0, 0] += 4.0
    original.save_pretrained(tmp_path)
    model, ids = load_marian(tmp_path), special_ids(tmp_path)
    draw = torch.Generator().manual_seed(5)
    rows = [
        torch.randint(2, PAD, (int(n),), generator=draw) for n in torch.randint(1, 10, (SENTENCES,), generator=draw)
    ]
    source = pad_sequence([torch.cat((row, torch.zeros(1).long())) for row in rows], True, PAD)
    padding = source == PAD
    config = BeamSearchConfig(length_penalty=1.0, length_penalty_form="power", stopping="heuristic", max_length=LIMIT)
    found = beam_search(model, source, padding, config, start_id=ids.start, end_id=ids.end, forbidden=[ids.pad])
    expected = original.generate(
        source,
        attention_mask=(~padding).long(),
        num_beams=BEAM,
        early_stopping=False,
        max_length=LIMIT + 1,
        bad_words_ids=[[PAD]],
        forced_eos_token_id=None,
    )
    translations = []
    for row in expected[:, 1:].tolist():
        tokens = [token for token in row if token != PAD]
        translations.append(tokens[: tokens.index(0)] if 0 in tokens else tokens)
    assert differing([results[0].tokens for results in found], translations) <= TIES
    assert len({len(tokens) for tokens in translations}) > 4
