"""A published score, measured as it was published: the "Tiny" Transformer on Multi30k, test2016.

    python benchmarks/multi30k.py prepare      # Moses tokens in lower case, of the package's own Multi30k
    python benchmarks/multi30k.py train --seeds 0 1 2 --direction en-de
    python benchmarks/multi30k.py score runs/multi30k-tiny-en-de-seed-*

The reference (Wu et al. 2021, "Good for Misconceived Reasons"; github LividWo/Revisit-MMT, README-baseline.md) reports
41.02 for English to German: multi-bleu on Moses tokens in lower case, one BPE vocabulary of 10,000 merges, the mean of
the weights of the last 10 epochs, beam 5, log-probabilities divided by the length. Its training ends after 8,000
updates, or after 10 epochs without a lower smoothed validation loss, whichever is first.

``score`` takes runs at any stage. Each is scored at the average of its last 10 epochs, at the epoch with the lowest
smoothed validation loss, at its last epoch, and at the average of the 10 epochs before the reference would have
stopped. ``prepare`` and the scores on detokenised text need sacremoses (pip install sacremoses).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from glassformer.data.pairs import open_pairs
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import GlassformerError
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.translation import Translator
from glassformer.runs.checkpoints import list_checkpoints, load_checkpoint
from glassformer.runs.folder import Run, list_runs
from glassformer.runs.manifest import step_of
from glassformer.studies.outcomes import read_outcome
from glassformer.tasks.open_run import OpenedTranslator, open_translator
from glassformer.tasks.opening import average
from glassformer.tasks.pairs import PairSamples
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_data import open_samples
from glassformer.training.objectives import summed_losses
from glassformer.training.recipes import configuration

PRESET = "transformer-tiny"
DIRECTIONS = ("en-de", "de-en")
FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
LAST = 10
PATIENCE = 10
PUBLISHED = {"en-de": 41.02}

Weights = dict[str, torch.Tensor]


def main() -> None:
    """Do what the command says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [-h] COMMAND ..."
    )
    commands = parser.add_subparsers(title="commands", metavar="")
    folder: dict[str, Any] = {
        "type": Path,
        "default": Path("multi30k-moses"),
        "help": "Moses-tokenised files (multi30k-moses)",
    }

    command = commands.add_parser("prepare", help="write the Moses-tokenised, lower-cased files")
    command.add_argument("--folder", **folder)
    command.set_defaults(call=prepare)

    command = commands.add_parser("train", help="train a run for each seed; the same command resumes")
    command.add_argument("--folder", **folder)
    command.add_argument("--direction", choices=DIRECTIONS, default="en-de")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--runs", type=Path, default=Path("runs"))
    command.add_argument("--keep", type=int, default=140, help="epochs whose checkpoints are kept, 30 MB each (140)")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    command.set_defaults(call=train)

    command = commands.add_parser("score", help="score runs, finished or not, on test2016")
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    command.add_argument("--beam", type=int, default=5)
    command.add_argument("--length-penalties", type=float, nargs="+", default=[1.0], help="powers of the length (1)")
    command.add_argument("--sentences", type=int, help="only the first so many")
    command.add_argument("--curve", type=int, default=0, help="BLEU on validation too, at so many epochs")
    command.add_argument("--output", type=Path, help="write everything here, as JSON")
    command.set_defaults(call=score)

    arguments = parser.parse_args()
    if "call" not in arguments:
        parser.print_help()
        return
    try:
        arguments.call(arguments)
    except GlassformerError as error:
        sys.exit(f"{error}")


# --------------------------------------------------------------------------------------------------- prepare, train


def prepare(arguments: argparse.Namespace) -> None:
    """Punctuation normalised, Moses tokens, lower case, nothing escaped: a file for each split and language."""
    moses = sacremoses()
    splits = open_pairs("multi30k-en-de").splits()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for language in ("en", "de"):
        normalizer, tokenizer = moses.MosesPunctNormalizer(language), moses.MosesTokenizer(language)
        for split, name in FILES.items():
            lines = [pair.source if language == "en" else pair.target for pair in splits[split]]
            tokens = [
                tokenizer.tokenize(normalizer.normalize(line), escape=False, return_str=True).lower() for line in lines
            ]
            path = arguments.folder / f"{name}.{language}"
            path.write_text("".join(f"{line}\n" for line in tokens), encoding="utf-8")
            print(f"{path}: {len(tokens):,} lines, {sum(len(line.split()) for line in tokens):,} tokens")


def train(arguments: argparse.Namespace) -> None:
    """Seed after seed: what has ended is left alone, what was stopped is resumed."""
    source, target = arguments.direction.split("-")
    files = {
        split: ",".join(str(arguments.folder / f"{name}.{language}") for language in (source, target))
        for split, name in FILES.items()
    }
    settings = [f"data.validation={files['validation']}", f"data.test={files['test']}", *arguments.set]
    config = configuration(PRESET, data=files["train"], steps=None, seed=None, assignments=settings)
    epoch = prepare_samples(config).steps_per_epoch
    settings += [
        f"training.checkpoints.every={epoch}",
        f"training.checkpoints.keep_last={arguments.keep}",
        f"training.telemetry.validate_every={epoch}",
    ]
    for seed in arguments.seeds:
        name = f"multi30k-tiny-{arguments.direction}-seed-{seed}"
        begun = [path for path in list_runs(arguments.runs) if path.name.startswith(f"{name}-")]
        if begun and read_outcome(Run.open(begun[-1]), PRESET, seed) is not None:
            print(f"{begun[-1]} has ended")
            continue
        words = ["resume", str(begun[-1])] if begun else ["train", PRESET, "--data", files["train"]]
        if not begun:
            words += ["--seed", str(seed), "--name", name, "--runs", str(arguments.runs)]
            words += [word for setting in settings for word in ("--set", setting)]
        print(f"glassformer {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, "-m", "glassformer", *words], check=True)


# ----------------------------------------------------------------------------------------------------- checkpoints


@dataclass(frozen=True)
class Epoch:
    """The checkpoint at the end of an epoch."""

    number: int
    path: Path
    smoothed: float
    """Validation loss with the training's label smoothing, nats per token: what the reference stops by."""
    nll: float
    """Validation loss without, nats per token."""


def measured_epochs(opened: OpenedTranslator, samples: PairSamples) -> list[Epoch]:
    """Every checkpoint kept at the end of an epoch, and its validation losses."""
    found = []
    for path in list_checkpoints(opened.run.checkpoints):
        number, rest = divmod(step_of(path), samples.steps_per_epoch)
        if rest or not number:
            continue
        try:
            opened.model.load_weights(weights_of([path]))
        except GlassformerError:
            if path.exists():
                raise
            continue  # the training has removed it meanwhile
        found.append(Epoch(number, path, *validation_losses(opened, samples)))
    return found


@torch.no_grad()
def validation_losses(opened: OpenedTranslator, samples: PairSamples) -> tuple[float, float]:
    """The validation loss with and without label smoothing, nats per token."""
    smoothing, totals, tokens = opened.config.training.label_smoothing, torch.zeros(2), 0
    for batch in samples.validation(4_096):
        logits = opened.model(*batch.arguments)
        totals += torch.stack(summed_losses(logits, batch.targets, smoothing))
        tokens += batch.n_tokens
    smoothed, nll = (totals / tokens).tolist()
    return smoothed, nll


def weights_of(paths: Sequence[Path]) -> Weights:
    """The mean of the weights of some checkpoints."""
    return average([dict(load_checkpoint(path).tensors["model"]) for path in paths])


def to_score(epochs: Sequence[Epoch]) -> Iterator[tuple[str, list[Epoch]]]:
    """What is scored, by name: each is the average of some epochs."""
    last = list(epochs[-LAST:])
    yield f"average of epochs {last[0].number}-{last[-1].number}, the last {len(last)}", last
    best = min(epochs, key=lambda epoch: epoch.smoothed)
    yield f"epoch {best.number}, lowest smoothed validation loss", [best]
    yield f"epoch {last[-1].number}, the last", last[-1:]
    stop = stopping_epoch(epochs)
    if stop is not None:
        before = [epoch for epoch in epochs if stop - LAST < epoch.number <= stop]
        yield f"average of epochs {before[0].number}-{stop}, where the reference would stop", before


def stopping_epoch(epochs: Sequence[Epoch]) -> int | None:
    """The epoch after which the smoothed validation loss has not fallen for ``PATIENCE`` epochs; None if there is none
    among those kept, or the ones before it were not kept.
    """
    if not epochs or epochs[0].number != 1 or epochs[-1].number != len(epochs):
        return None
    best = epochs[0]
    for epoch in epochs:
        if epoch.smoothed < best.smoothed:
            best = epoch
        elif epoch.number - best.number >= PATIENCE:
            return epoch.number
    return None


# ----------------------------------------------------------------------------------------------------------- scores


@dataclass(frozen=True)
class Scored:
    """One row of the table."""

    run: str
    what: str
    length_penalty: float
    multi_bleu: float
    sacre_bleu: float | None
    chrf: float | None
    length_ratio: float
    """Tokens of the translations, per token of the references."""
    seconds: float


def score(arguments: argparse.Namespace) -> None:
    """The table, the curve, and the mean over runs."""
    rows: list[Scored] = []
    curves: dict[str, Any] = {}
    signatures: dict[str, str] = {}
    for path in arguments.runs:
        run = Run.open(path)
        opened = open_translator(run, "latest", device="cpu")
        samples = open_samples(run, opened.config)
        assert isinstance(samples, PairSamples)
        epochs = measured_epochs(opened, samples)
        if not epochs:
            print(f"{run.name} keeps no checkpoint of a whole epoch ({samples.steps_per_epoch} updates) yet")
            continue
        print(f"\n{run.name}: epochs {epochs[0].number} to {epochs[-1].number}, {samples.steps_per_epoch} updates each")
        curves[run.name] = curve(opened, samples, epochs, arguments)
        print("\n   multi-bleu  sacreBLEU   chrF2   length   s     penalty   weights")
        for what, chosen in to_score(epochs):
            opened.model.load_weights(weights_of([epoch.path for epoch in chosen]))
            for power in arguments.length_penalties:
                row = scored(opened, samples, what, power, arguments, signatures)
                rows.append(row)
                optional = "".join(f"{x:>10.2f}" if x is not None else f"{'-':>10}" for x in (row.sacre_bleu, row.chrf))
                cells = f"{row.multi_bleu:>10.2f}{optional}{row.length_ratio:>9.3f}{row.seconds:>5.0f}{power:>9g}"
                print(f"   {cells}     {what}", flush=True)
    _print_means(rows)
    some = "" if arguments.sentences is None else f"  (the first {arguments.sentences} sentences alone)"
    for name, signature in signatures.items():
        print(f"{name}: {signature}{some}")
    if arguments.output is not None:
        tree = {"rows": [asdict(row) for row in rows], "curves": curves, "signatures": signatures}
        arguments.output.write_text(json.dumps(tree, indent=1), encoding="utf-8")


def scored(
    opened: OpenedTranslator,
    samples: PairSamples,
    what: str,
    power: float,
    arguments: argparse.Namespace,
    signatures: dict[str, str],
) -> Scored:
    """Translate the test set with the weights that the model has, and score it."""
    pairs = samples.data.pairs("test")[: arguments.sentences]
    search = BeamSearchConfig(beam_size=arguments.beam, length_penalty=power, length_penalty_form="power")
    start = time.perf_counter()
    found = Translator(opened.model, opened.tokenizer, search)([pair.source for pair in pairs])
    seconds = time.perf_counter() - start
    lines, references = [each.text for each in found], [pair.target for pair in pairs]
    multi_bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    value = multi_bleu.corpus_score(lines, [references])
    signatures["multi-bleu, on Moses tokens in lower case"] = str(multi_bleu.get_signature())
    text = detokenised(opened, lines, signatures)
    return Scored(
        opened.run.name, what, power, value.score, *text, length_ratio=value.sys_len / value.ref_len, seconds=seconds
    )


def detokenised(
    opened: OpenedTranslator, lines: Sequence[str], signatures: dict[str, str]
) -> tuple[float | None, float | None]:
    """SacreBLEU and chrF2 of detokenised translations and the published references, in lower case: a model that reads
    and writes lower case has no case to score. None where sacremoses is missing, or the data are not Multi30k's.
    """
    assert isinstance(opened.config.data, TranslationConfig)
    language = Path(opened.config.data.source.rpartition(",")[2]).suffix.removeprefix(".")
    try:
        detokenizer = sacremoses().MosesDetokenizer(language)
    except SystemExit:
        return None, None
    if language not in ("en", "de"):
        return None, None
    pairs = open_pairs("multi30k-en-de").splits()["test"][: len(lines)]
    references = [pair.source if language == "en" else pair.target for pair in pairs]
    text = [detokenizer.detokenize(line.split(), unescape=False) for line in lines]
    measures = {"sacreBLEU": BLEU(lowercase=True), "chrF2": CHRF(lowercase=True)}
    values = [measure.corpus_score(text, [references]).score for measure in measures.values()]
    signatures |= {f"{name}, on detokenised text": str(measure.get_signature()) for name, measure in measures.items()}
    return values[0], values[1]


def curve(
    opened: OpenedTranslator, samples: PairSamples, epochs: Sequence[Epoch], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Validation losses by update, printed for some epochs, with BLEU for ``--curve`` of them."""
    train_losses = {record["step"]: record["loss"] for record in opened.run.metrics() if record.get("kind") == "train"}
    shown = {round(i * (len(epochs) - 1) / 11) for i in range(12)}
    with_bleu = {round(i * (len(epochs) - 1) / max(arguments.curve - 1, 1)) for i in range(arguments.curve)}
    points = []
    print("   updates  epoch   training   validation   smoothed   BLEU, beam 1")
    for index, epoch in enumerate(epochs):
        updates = epoch.number * samples.steps_per_epoch
        nearest = max((step for step in train_losses if step <= updates), default=None)
        point = {
            "updates": updates,
            "training": None if nearest is None else train_losses[nearest],
            "validation": epoch.nll,
            "smoothed": epoch.smoothed,
            "bleu": validation_bleu(opened, samples, epoch, arguments) if index in with_bleu else None,
        }
        points.append(point)
        if index in shown | with_bleu:
            columns = (("training", 11), ("validation", 13), ("smoothed", 11), ("bleu", 15))
            cells = (f"{point[key]:>{w}.3f}" if point[key] is not None else f"{'-':>{w}}" for key, w in columns)
            print(f"   {updates:>7,}{epoch.number:>7}{''.join(cells)}", flush=True)
    return points


def validation_bleu(
    opened: OpenedTranslator, samples: PairSamples, epoch: Epoch, arguments: argparse.Namespace
) -> float:
    """Multi-bleu of greedy translations of the validation set."""
    opened.model.load_weights(weights_of([epoch.path]))
    pairs = samples.data.pairs("validation")[: arguments.sentences]
    found = Translator(opened.model, opened.tokenizer, BeamSearchConfig(beam_size=1))([pair.source for pair in pairs])
    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    return float(bleu.corpus_score([each.text for each in found], [[pair.target for pair in pairs]]).score)


def _print_means(rows: Sequence[Scored]) -> None:
    """Over runs, what is comparable: the name of the weights without the numbers of its epochs."""
    groups: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        kind = row.what.partition(", ")[2]
        groups.setdefault((kind, row.length_penalty), []).append(row.multi_bleu)
    if len({row.run for row in rows}) > 1:
        print("\nmulti-bleu over runs")
        for (kind, power), values in groups.items():
            spread = f" (standard deviation {stdev(values):.2f})" if len(values) > 1 else ""
            print(f"   {fmean(values):.2f}{spread}, n = {len(values)}: {kind}, penalty {power:g}")
    print(f"\npublished: {', '.join(f'{name} {value}' for name, value in PUBLISHED.items())}")


def sacremoses() -> Any:
    """The optional package."""
    try:
        import sacremoses as package
    except ImportError:
        sys.exit("Moses tokens need sacremoses: pip install sacremoses")
    return package


if __name__ == "__main__":
    main()
