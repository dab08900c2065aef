"""Sentences per second of translation at beam 5, beside transformers' generate and CTranslate2, on the same weights.

    python benchmarks/translation_decoding.py                              # both shapes, every variant
    python benchmarks/translation_decoding.py --shapes small --rounds 3 --sentences 200
    python benchmarks/translation_decoding.py --run RUN --direction en-de  # a translator that was trained here

The sentences are real: Multi30k's test of 2016, from $GLASSFORMER_DATA. Weights are random unless a run is named, and
then nobody ever ends: every translation has 20 tokens, so that all do the same work. The model is exported to Marian's
format, which transformers loads and CTranslate2 converts. Everybody sorts by length and takes the batch size that was
the fastest of several for them; then they take turns. Shares of equal translations are printed beside the speeds.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from alternating import alternate, circumstances
from torch.nn.utils.rnn import pad_sequence

from glassformer.data.marian_tokenizers import save_for_transformers
from glassformer.data.sentence_bpe import SentenceBytePairTokenizer
from glassformer.data.sentence_tokenizers import PairTokenizer
from glassformer.generation import BeamSearchConfig, DecodingConfig, Translator
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.marian_export import save_marian
from glassformer.models.marian_layout import SpecialIds, marian_order
from glassformer.models.presets import preset

SHAPES = ("small", "base")
VARIANTS = {
    "fp32": DecodingConfig(),
    "bf16": DecodingConfig(precision="bf16"),
    "int8": DecodingConfig(quantize="int8"),
}
TARGETS = {("small", "fp32"): 2.2, ("base", "fp32"): 1.8, ("small", "bf16"): 2.6, ("base", "bf16"): 2.5}
BATCHES = (32, 64, 128)  # sentences; of these everybody takes the best
BEAM, VOCABULARY, LENGTH, LONGEST = 5, 8_000, 20, 100
NEVER_ENDS = -100.0  # bias of the end token

Lines = list[str]
Ids = list[list[int]]


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(circumstances())
    print(f"load {os.getloadavg()[0]:.1f} at the start; beam {BEAM}, {arguments.sentences} sentences")
    data, (source, target) = Path(os.environ["GLASSFORMER_DATA"]) / "multi30k", arguments.direction.split("-")
    lines = read(data / f"test_2016_flickr.{source}.gz")[: arguments.sentences]
    if arguments.run:
        from glassformer.cli.decoding_options import open_translators

        opened = open_translators(arguments.run, None, None, runs=arguments.runs, device="cpu")[0]
        compare(arguments.run, opened.model, opened.tokenizer, lines, LONGEST, arguments)
        return
    texts = itertools.chain(read(data / f"train.{source}.gz"), read(data / f"train.{target}.gz"))
    both = SentenceBytePairTokenizer.train(list(texts), VOCABULARY)
    for shape in arguments.shapes:
        compare(shape, random_model(shape, both.vocab_size), PairTokenizer(both, both), lines, LENGTH, arguments)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--direction", choices=("de-en", "en-de"), default="de-en")
    parser.add_argument("--run", help="measure this run's model instead, on its own vocabulary")
    parser.add_argument("--runs", type=Path, help="the folder of runs")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch and CTranslate2; 0: torch's choice")
    parser.add_argument("--no-ctranslate2", action="store_true", help="leave CTranslate2 out")
    return parser.parse_args()


def read(path: Path) -> Lines:
    """The lines of a compressed file."""
    return gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()


def random_model(shape: str, vocab_size: int) -> EncoderDecoder:
    """A preset's sizes in Marian's order of norms, with random weights, whose translations never end."""
    config = preset(f"transformer-{shape}").model.override(
        {
            "vocab_size": vocab_size,
            "attention.bias": True,
            "dropout": 0.0,
            "norm.placement": "post",
            "norm.final": False,
            "positions.options": {"layout": "halves"},
            "head.bias": True,
        }
    )
    torch.manual_seed(0)
    model = EncoderDecoder(config).eval()
    with torch.no_grad():
        model.head.bias[SpecialIds().end] = NEVER_ENDS
    return model


def compare(
    name: str, model: EncoderDecoder, tokenizer: PairTokenizer, lines: Lines, length: int, arguments: argparse.Namespace
) -> None:
    """Everybody on one model, in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ids = SpecialIds(tokenizer.target.pad_id, tokenizer.target.start_id, tokenizer.target.end_id)
        save_marian(model, folder, ids=ids, joint=tokenizer.joint)
        orders = [
            marian_order(side.vocab_size, ids, joint=tokenizer.joint) for side in (tokenizer.source, tokenizer.target)
        ]
        save_for_transformers(tokenizer, folder, orders[0], orders[1], model.config.max_seq_len)
        encoded = [[*tokens, ids.end] for tokens in tokenizer.source.encode_all(lines)]
        contestants: dict[str, Callable[[], Ids]] = {
            "transformers": fastest(transformers_peer(folder, encoded, orders, ids.end, length))
        }
        if not arguments.no_ctranslate2:
            for store in ("float32", "int8"):
                peer = ctranslate2_peer(folder, encoded, tokenizer, length, store)
                contestants[f"CTranslate2 {store}"] = fastest(peer)
        for variant in arguments.variants:
            contestants[variant] = fastest(our_side(model, tokenizer, lines, length, VARIANTS[variant]))
    expected = contestants["transformers"]()
    agreement = {
        name: sum(ours == theirs for ours, theirs in zip(run(), expected, strict=True)) / len(lines)
        for name, run in contestants.items()
    }
    timings = alternate(contestants, rounds=arguments.rounds, warm_up=0)  # each has run several times by now

    tokens = sum(map(len, encoded)) / len(encoded)
    print(f"\n{name}: {tokens:.1f} source tokens a sentence, at most {length} target tokens, {arguments.rounds} turns")
    print("  variant               sentences/s   × transformers (middle half)   target   = theirs")
    for name_, timing in timings.items():
        low, high = timing.ratio_spread(timings["transformers"])
        goal = TARGETS.get((name, name_))
        print(
            f"  {name_:<22} {len(lines) / timing.median:>8.1f}"
            f"   {timing.ratio_to(timings['transformers']):>10.2f}  ({low:.2f} to {high:.2f})".ljust(36)
            + f"   {f'≥ {goal}' if goal else '':>8}   {agreement[name_]:>6.0%}"
        )


def fastest(of_batch: Callable[[int], Callable[[], Ids]]) -> Callable[[], Ids]:
    """The contestant with the batch size that was fastest, each tried once after a warm-up."""
    seconds = {}
    for batch in BATCHES:
        run = of_batch(batch)
        run()
        began = time.perf_counter()
        run()
        seconds[batch] = time.perf_counter() - began
    return of_batch(min(seconds, key=lambda batch: seconds[batch]))


def our_side(
    model: EncoderDecoder, tokenizer: PairTokenizer, lines: Lines, length: int, decoding: DecodingConfig
) -> Callable[[int], Callable[[], Ids]]:
    """Ours, from text to text; the ids of the translations come back."""
    search = BeamSearchConfig(
        beam_size=BEAM, length_penalty=1.0, length_penalty_form="power", stopping="heuristic", max_length=length
    )
    mean = sum(map(len, tokenizer.source.encode_all(lines))) / len(lines) + 1

    def of_batch(batch: int) -> Callable[[], Ids]:
        translator = Translator(model, tokenizer, search, decoding=decoding, batch_tokens=round(batch * mean))
        return lambda: [each.hypotheses[0].tokens for each in translator(lines)]

    return of_batch


def transformers_peer(
    folder: Path, encoded: Ids, orders: Sequence[Sequence[int]], end: int, length: int
) -> Callable[[int], Callable[[], Ids]]:
    """``MarianMTModel.generate`` on ids."""
    from transformers import MarianMTModel

    theirs: Any = MarianMTModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    pad = theirs.config.pad_token_id
    place = {token: index for index, token in enumerate(orders[0])}
    rows = [torch.tensor([place[token] for token in sentence]) for sentence in encoded]
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))

    @torch.inference_mode()
    def run(batch: int) -> Ids:
        found: Ids = [[] for _ in rows]
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            source = pad_sequence([rows[row] for row in chosen], batch_first=True, padding_value=pad)
            output = theirs.generate(
                source,
                attention_mask=(source != pad).long(),
                num_beams=BEAM,
                length_penalty=1.0,
                early_stopping=False,
                do_sample=False,
                max_length=length + 1,
                forced_eos_token_id=None,
            )
            for row, tokens in zip(chosen, output[:, 1:].tolist(), strict=True):
                words = [orders[1][token] for token in tokens if token != pad]
                found[row] = words[: words.index(end)] if end in words else words
        return found

    return lambda batch: lambda: run(batch)


def ctranslate2_peer(
    folder: Path, encoded: Ids, tokenizer: PairTokenizer, length: int, store: str
) -> Callable[[int], Callable[[], Ids]]:
    """CTranslate2 on tokens, with all cores on one batch."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    converted = folder / f"ctranslate2-{store}"
    TransformersConverter(str(folder)).convert(str(converted), quantization=None if store == "float32" else store)
    translator = ctranslate2.Translator(
        str(converted), device="cpu", compute_type=store, inter_threads=1, intra_threads=torch.get_num_threads()
    )
    source, target = tokenizer.source, tokenizer.target
    rows = [[source.vocabulary[token] for token in sentence] for sentence in encoded]

    def run(batch: int) -> Ids:
        results = translator.translate_batch(
            rows, beam_size=BEAM, length_penalty=1.0, max_decoding_length=length, max_batch_size=batch
        )  # it sorts by length itself
        return [[target.id_of[token] for token in result.hypotheses[0]] for result in results]

    return lambda batch: lambda: run(batch)


if __name__ == "__main__":
    main()
