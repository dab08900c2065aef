"""``glassformer convert`` for translators: to a folder of Hugging Face and back, and an OPUS-MT folder in."""

from __future__ import annotations

import io
import json
import random
import sys

import ctranslate2
import pytest
import sentencepiece
import torch
from ctranslate2.converters.transformers import main as ct2_transformers_converter
from transformers import AutoTokenizer, MarianConfig, MarianMTModel

from glassformer.data.sentence_bpe import SentenceBytePairTokenizer
from glassformer.data.sentence_tokenizers import PairTokenizer, WordTokenizer
from glassformer.generation.beam_search import beam_search
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.presets import preset
from glassformer.runs.checkpoints import save_checkpoint
from glassformer.runs.folder import Run
from glassformer.tasks.open_run import open_translator
from glassformer.tasks.run_config import RunConfig

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
WORDS = ["the", "cat", "dog", "house", "stands", "runs", "sleeps", "under", "river", "Katze", "läuft", "größer", "Haus"]
LIMIT = 20


def sentences(n=200, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(2, 7))).capitalize() + "." for _ in range(n)]


def make_run(root, tokenizer, **changes):
    """A run as training leaves one; its weights are random, and sharp enough to say different things."""
    sizes = {
        "vocab_size": tokenizer.target.vocab_size,
        "max_seq_len": 32,
        "d_model": 24,
        "n_layers": 2,
        "n_encoder_layers": 2,
        "attention.n_heads": 3,
        "feedforward.d_ff": 40,
    }
    config = preset("transformer-tiny").model.override(sizes | changes)
    torch.manual_seed(0)
    model = EncoderDecoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    data = {"task": "translation", "tokenizer": tokenizer.target.kind, "joint": tokenizer.joint, "max_length": 32}
    run = Run.create(root, "translator", RunConfig.build({"model": config, "data": data}).to_dict(), command=["test"])
    tokenizer.save(run.tokenizer)
    save_checkpoint(run.checkpoints, 7, {"model": model.named_weights()}, {}, is_best=True)
    return run


def translations(run, texts, beam_size=5):
    """What the run's model says, as text."""
    opened = open_translator(run, "best", device="cpu")
    source, target = opened.tokenizer.source, opened.tokenizer.target
    config = BeamSearchConfig(
        beam_size=beam_size, length_penalty=1.0, length_penalty_form="power", stopping="heuristic", max_length=LIMIT
    )
    said = []
    for text in texts:
        ids = torch.tensor([[*source.encode(text), source.end_id]])
        forbidden = {target.pad_id, target.start_id}
        found = beam_search(
            opened.model,
            ids,
            None,
            config,
            start_id=target.start_id,
            end_id=target.end_id,
            forbidden=sorted(forbidden),
        )
        said.append(target.decode(found[0][0].tokens))
    return said


@pytest.fixture(scope="module")
def joint():
    tokenizer = SentenceBytePairTokenizer.train(sentences(), 330)
    return PairTokenizer(tokenizer, tokenizer)


def folders(place):
    return sorted(path for path in (place / "runs").iterdir())


def test_a_run_goes_out_and_comes_back_the_same_translator(place, say, joint):
    run = make_run(place / "runs", joint)
    out = say("convert", run.path, "--to-hf", "out")
    assert out.status == 0, out.err
    assert "MarianMTModel.from_pretrained('out')" in out.out
    back = say("convert", "out", "--to-run", "again")
    assert back.status == 0, back.err
    (again,) = (path for path in folders(place) if path.name.startswith("again"))
    assert f"glassformer translate {again.relative_to(place)} < lines" in back.out.replace(f"{place}/", "")
    imported, texts = Run.open(again), sentences(20, 1)
    assert translations(imported, texts, beam_size=1) == translations(run, texts, beam_size=1)
    assert open_translator(imported, "best", device="cpu").tokenizer.to_dict() == joint.to_dict()
    assert imported.config["data"] | {"max_length": 32} == run.config["data"]


def test_the_folder_translates_with_transformers_and_with_ctranslate2(place, say, joint, monkeypatch):
    """Text to text, through the tokenizer in the folder and the converter's own command."""
    run = make_run(place / "runs", joint, **{"norm.bias": False})
    assert say("convert", run.path, "--to-hf", "out").status == 0
    tokenizer, model = AutoTokenizer.from_pretrained("out"), MarianMTModel.from_pretrained("out").eval()
    monkeypatch.setattr(sys, "argv", ["ct2-transformers-converter", "--model", "out", "--output_dir", "ct2"])
    ct2_transformers_converter()
    translator = ctranslate2.Translator("ct2", device="cpu", intra_threads=1)
    texts = sentences(25, 2)
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    rows = model.generate(**batch, max_length=LIMIT + 1, forced_eos_token_id=None)
    pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in texts]
    results = translator.translate_batch(pieces, beam_size=5, max_decoding_length=LIMIT, min_decoding_length=0)
    by_ctranslate2 = [
        tokenizer.decode(tokenizer.convert_tokens_to_ids(each.hypotheses[0]), skip_special_tokens=True)
        for each in results
    ]
    assert len(set(by_ctranslate2)) > 3
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == by_ctranslate2


def test_two_vocabularies_go_out_with_two_tokenizers_and_come_back(place, say):
    pair = PairTokenizer(
        SentenceBytePairTokenizer.train(sentences(), 320), SentenceBytePairTokenizer.train(sentences(), 340)
    )
    run = make_run(place / "runs", pair, **{"embedding.source": "own", "source_vocab_size": 320})
    out = say("convert", run.path, "--to-hf", "out")
    assert out.status == 0, out.err
    assert "CTranslate2 converts models of one vocabulary only" in out.err
    assert len(AutoTokenizer.from_pretrained("out")) == 319
    assert len(AutoTokenizer.from_pretrained("out/target_tokenizer")) == 339
    assert say("convert", "out", "--to-run", "again").status == 0
    (again,) = (path for path in folders(place) if path.name.startswith("again"))
    texts = sentences(10, 3)
    assert translations(Run.open(again), texts, beam_size=1) == translations(run, texts, beam_size=1)


def test_a_word_vocabulary_goes_out_with_a_warning(place, say):
    words = WordTokenizer.train(sentences())
    run = make_run(place / "runs", PairTokenizer(words, words))
    out = say("convert", run.path, "--to-hf", "out")
    assert out.status == 0, out.err
    assert "takes sentences cut into words and symbols" in out.err


def test_a_translator_that_marian_cannot_hold_is_one_message(place, say, joint):
    run = make_run(
        place / "runs", joint, **{"norm.placement": "pre", "positions.kind": "rotary", "positions.options": {}}
    )
    out = say("convert", run.path, "--to-hf", "out")
    assert out.status == 2
    assert "for 2 reasons" in out.err
    assert "norm.placement is pre, and Marian has post" in out.err
    assert not (place / "out").exists()


# --- OPUS-MT --------------------------------------------------------------------------------------------------------


@pytest.fixture
def opus(place):
    """A folder as the hub has them, with random weights."""
    folder = place / "opus"
    folder.mkdir()
    pieces = {}
    for side, seed in (("source", 0), ("target", 9)):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(seed=seed)),
            model_writer=model,
            vocab_size=60,
            character_coverage=1.0,
            minloglevel=2,
            num_threads=1,
        )
        (folder / f"{side}.spm").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        pieces |= {processor.id_to_piece(index): None for index in range(3, processor.get_piece_size())}
    vocabulary = ["</s>", "<unk>", *pieces, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    pad = len(vocabulary) - 1
    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(vocabulary),
            d_model=24,
            max_position_embeddings=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=3,
            decoder_attention_heads=3,
            encoder_ffn_dim=40,
            decoder_ffn_dim=40,
            activation_function="swish",
            scale_embedding=True,
            pad_token_id=pad,
            decoder_start_token_id=pad,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter += 0.3 * torch.randn_like(parameter)
        model.model.shared.weight[pad] = 0.0
    model.save_pretrained(folder)
    return folder


def test_an_opus_mt_folder_becomes_a_run_that_translates_the_same(place, say, opus):
    said = say("convert", opus, "--to-run", "opus")
    assert said.status == 0, said.err
    (path,) = folders(place)
    tokenizer, model = AutoTokenizer.from_pretrained(opus), MarianMTModel.from_pretrained(opus).eval()
    texts = sentences(15, 4)
    expected = []
    for text in texts:
        row = model.generate(
            **tokenizer(text, return_tensors="pt"),
            num_beams=5,
            early_stopping=False,
            max_length=LIMIT + 1,
            bad_words_ids=[[tokenizer.pad_token_id]],
            forced_eos_token_id=None,
        )[0]
        kept = [token for token in row.tolist() if token not in (tokenizer.pad_token_id, tokenizer.eos_token_id)]
        expected.append(tokenizer.decode(kept, use_source_tokenizer=False))
    assert len(set(expected)) > 3
    assert translations(Run.open(path), texts) == expected


def test_an_imported_run_goes_out_as_it_came(place, say, opus):
    assert say("convert", opus, "--to-run", "opus").status == 0
    out = say("convert", folders(place)[0], "--to-hf", "out")
    assert out.status == 0, out.err
    for name in ("source.spm", "target.spm"):
        assert (place / "out" / name).read_bytes() == (opus / name).read_bytes()
    assert json.loads((place / "out/vocab.json").read_text()) == json.loads((opus / "vocab.json").read_text())
    before, after = (MarianMTModel.from_pretrained(folder).state_dict() for folder in (opus, "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_imported_run_is_translated_with_by_the_command(place, say, opus):
    assert say("convert", opus, "--to-run", "imported").status == 0
    said = say("translate", "imported", "--text", "The cat runs.", "--text", "")
    assert said.status == 0, said.err
    assert len(said.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("source.spm", None, "source.spm missing"),
        ("model.safetensors", None, "no model.safetensors"),
        ("vocab.json", {"</s>": 0, "<unk>": 1, "<pad>": 2}, "they do not belong together"),
        ("config.json", {"model_type": "bert"}, "what can be read are gpt2 and marian"),
        ("config.json", {"model_type": "marian", "activation_function": "tanh"}, "activation_function is 'tanh'"),
    ],
)
def test_folders_that_do_not_fit_are_one_message(place, say, opus, name, change, told):
    (opus / name).unlink()
    if change is not None:
        (opus / name).write_text(json.dumps(change))
    said = say("convert", opus, "--to-run", "opus")
    assert said.status == 2
    assert told in said.err
    assert not (place / "runs").exists()
