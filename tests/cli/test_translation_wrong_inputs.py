"""Wrong inputs of the commands for translators: each ends with status 2 and one message, and leaves nothing behind.

A row is a name, the command line, and what the message must say. ``{run}`` is a trained language model,
``{translator}`` a trained translator, ``{other}`` one with another vocabulary; a function in third place prepares what
is wrong on the disk, and bytes in fourth place are standard input.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from seals import unsealed

TRAIN = "train transformer-tiny --data pairs.tsv --set data.tokenizer=words --steps 2"
TRANSLATE = "translate {translator} --text one"
Prepare = Callable[[Path, Path], object]


def file(name: str, content: str | bytes) -> Prepare:
    """Prepare a file in the working directory; ``run/...`` is in the translator's folder."""

    def write(place: Path, run: Path) -> None:
        path = run / name.removeprefix("run/") if name.startswith("run/") else place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def folder(name: str) -> Prepare:
    return lambda place, run: (place / name).mkdir(parents=True)


def damaged(pattern: str) -> Prepare:
    """Change one byte in the middle of every file of the translator that matches."""

    def damage(place: Path, run: Path) -> None:
        for path in run.glob(pattern):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    return damage


def config(change: Callable[[dict], object]) -> Prepare:
    """Change the translator's config.json."""

    def edit(place: Path, run: Path) -> None:
        tree = json.loads((run / "config.json").read_text())
        change(tree)
        (run / "config.json").write_text(json.dumps(tree))

    return edit


def without_seal(prepare: Prepare) -> Prepare:
    """What is prepared is not noticed by the checkpoints' seal, but by whoever reads it."""

    def both(place: Path, run: Path) -> None:
        prepare(place, run)
        unsealed(place, run)

    return both


# name: (command line, what the message says, what is prepared)
PAIR_FILES = {
    "no file of pairs": (
        TRAIN.replace("pairs.tsv", "pears.tsv"),
        "no file or built-in task named 'pears.tsv'. Did you mean 'pairs.tsv'",
    ),
    "near miss of a built-in task": (TRAIN.replace("pairs.tsv", "date"), "named 'date'. Did you mean 'dates'"),
    "a line without TAB": (
        TRAIN.replace("pairs", "bad"),
        "'bad.tsv' cannot be read as pairs .no TAB: line 2.",
        file("bad.tsv", "a\tb\nc d\n"),
    ),
    "a line with two TABs": (
        TRAIN.replace("pairs", "bad"),
        "more than two columns: line 1",
        file("bad.tsv", "a\tb\tc\n"),
    ),
    "an empty file of pairs": (TRAIN.replace("pairs", "bad"), "'bad.tsv' is empty", file("bad.tsv", "")),
    "pairs with one side only": (
        TRAIN.replace("pairs", "bad"),
        "holds no pair with text on both sides",
        file("bad.tsv", "a\t\n\tb\n"),
    ),
    "a single pair": (TRAIN.replace("pairs", "bad"), "only one source text", file("bad.tsv", "a\tb\n")),
    "pairs in Latin-1": (
        TRAIN.replace("pairs", "bad"),
        r"not valid UTF-8: byte 0xE9 at position \d+ in line 2",
        file("bad.tsv", b"a\tb\ncaf\xe9\td\n"),
    ),
    "pairs in UTF-16 without a mark": (
        TRAIN.replace("pairs", "bad"),
        "UTF-16LE without",
        file("bad.tsv", ("a\tb\n" * 9).encode("utf-16-le")),
    ),
    "binary pairs": (TRAIN.replace("pairs", "bad"), "is binary", file("bad.tsv", b"a\tb\0\n")),
    "not a whole gzip file": (
        TRAIN.replace("pairs.tsv", "bad.tsv.gz"),
        "not a whole gzip file",
        file("bad.tsv.gz", b"\x1f\x8b\x08\0"),
    ),
    "two files of unequal length": (
        TRAIN.replace("pairs.tsv", "a.en,a.de"),
        "'a.en' has 2 lines and 'a.de' 1",
        lambda place, run: (file("a.en", "x\ny\n")(place, run), file("a.de", "z\n")(place, run)),
    ),
    "three files": (TRAIN.replace("pairs.tsv", "a,b,c"), "names 3 files; expected are two"),
    "two files, one missing": (TRAIN.replace("pairs.tsv", "pairs.tsv,a.de"), "named 'a.de'"),
    "a folder of pairs": (TRAIN.replace("pairs.tsv", "folder"), "'folder' is a folder", folder("folder")),
    "an ending that says nothing": (
        TRAIN.replace("pairs.tsv", "words.txt"),
        "'words.txt' does not say how pairs stand in it",
    ),
    "lines that are not JSON": (
        TRAIN.replace("pairs.tsv", "bad.jsonl"),
        "not a JSON object: line 2",
        file("bad.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"\n'),
    ),
    "JSON without the keys": (
        TRAIN.replace("pairs.tsv", "bad.jsonl"),
        "no key 'source': line 1",
        file("bad.jsonl", '{"en": "a", "de": "b"}\n'),
    ),
    "JSON with numbers": (
        TRAIN.replace("pairs.tsv", "bad.jsonl"),
        "value of 'target' is not text",
        file("bad.jsonl", '{"source": "a", "target": 1}\n'),
    ),
    "columns of a TSV": (f"{TRAIN} --set data.source_column=en", "source_column and target_column are for JSON lines"),
    "a test file that is missing": (f"{TRAIN} --set data.test=tests.tsv", "named 'tests.tsv'"),
}
DATES = {
    "an unknown locale": (
        "train transformer-tiny --data dates --set data.locales=de_DE,xx_XX",
        "(?s)xx_XX",
    ),
    "an empty list of locales": ("train transformer-tiny --data dates --set data.locales=", "locale"),
    "more dates than there are": (
        "train transformer-tiny --data dates --set data.locales=ko_KR --set data.n_pairs=100000000",
        "(?s)n_pairs",
    ),
    "dates in reverse": ("train transformer-tiny --data dates --set data.reverse=true", "reverse does not fit"),
    "dates of one's own validation": (
        "train transformer-tiny --data dates --set data.validation=pairs.tsv",
        "validation has no effect",
    ),
    "locales of a file": (f"{TRAIN} --set data.locales=de_DE", "locales=de_DE has no effect"),
}
SETTINGS = {
    "pairs for a language model": (
        "train gpt2 --data dates",
        "'dates'.* trains an encoder-decoder model, and gpt2 is a decoder-only model.*preset such as transformer-",
    ),
    "Multi30k for a language model": (
        "train gpt-nano --data multi30k-en-de",
        "trains an encoder-decoder model, and gpt-nano is",
    ),
    "a text for a translator": (
        "train transformer-tiny --data tinyshakespeare",
        "'tinyshakespeare'.* trains a decoder-only model, and transformer-tiny is",
    ),
    "a text file for a translator": ("train transformer-tiny --data words.txt", "does not say how pairs stand in it"),
    "a language model's setting": (f"{TRAIN} --set data.unknown=replace", "'data.unknown' is not a setting"),
    "a sequence length": (f"{TRAIN} --set training.seq_len=16", "training.seq_len has no effect"),
    "micro-batches": (f"{TRAIN} --set training.micro_batch_size=4", "micro_batch_size"),
    "sentences longer than the model looks": (
        f"{TRAIN} --set data.max_length=300",
        "data.max_length is 300, more than the context length 256",
    ),
    "one embedding for two vocabularies": (f"{TRAIN} --set data.joint=false", "(?s)(joint|vocabular)"),
    "byte pairs of words": (f"{TRAIN} --set data.vocab_size=500", "vocab_size=500 has no effect"),
    "a vocabulary of 100": ("train transformer-tiny --data pairs.tsv --set data.vocab_size=100", "vocab_size is 100"),
    "an unknown tokenizer": (f"{TRAIN} --set data.tokenizer=word", "tokenizer is 'word'; expected .*'words'"),
    "everything smoothed": (f"{TRAIN} --set training.label_smoothing=1", "label_smoothing is 1"),
    "a batch of no tokens": (f"{TRAIN} --set training.batch_tokens=0", "batch_tokens is 0"),
    "no encoder layer": (f"{TRAIN} --set model.n_encoder_layers=0", "n_encoder_layers is 0"),
    "every pair too long": (
        f"{TRAIN.replace('pairs.tsv', 'long.tsv')} --set data.max_length=2",
        "All .* training pairs .* are left out: .* more than data.max_length=2",
        file("long.tsv", "a b\tc d\nb a\td c\n" * 3),
    ),
    "a batch of tokens for a text": (
        "train gpt-nano --data words.txt --set training.batch_tokens=500",
        "batch_tokens is for sentence pairs",
    ),
}
RUNS = {
    "translate with a language model": (
        "translate {run} --text one",
        "is a language model, and a translator is needed here; use glassformer sample",
    ),
    "write with a translator": (
        "sample {translator}",
        "is a translator, and a language model is needed here; use glassformer translate",
    ),
    "write from a prompt with a translator": ("sample {translator} --prompt one --prompt two", "is a translator"),
    "translate with no run": ("translate", "Missing argument 'RUN'"),
    "translate with an unknown run": ("translate numberz --text one", "There is no run 'numberz'.*numbers-"),
    "a checkpoint that is not there": (
        f"{TRANSLATE} --checkpoint 7",
        "no checkpoint of step 7.*Steps saved: 40, 80, 120",
    ),
    "a checkpoint in words": (f"{TRANSLATE} --checkpoint newest", "'best', the number.*'average-N'.*'newest'"),
    "an average of no number": (
        f"{TRANSLATE} --checkpoint average-all",
        "average-N, as in average-5, N at least 1; 'average-all'",
    ),
    "an average of nothing": (f"{TRANSLATE} --checkpoint average-0", "An average is written average-N.*'average-0'"),
    "an average of more than are kept": (f"{TRANSLATE} --checkpoint average-9", "keeps 3 checkpoints.*keep_last"),
    "an average of damaged checkpoints": (
        f"{TRANSLATE} --checkpoint average-2",
        "is damaged: model.safetensors is not what was written",
        damaged("checkpoints/step-*/model.safetensors"),
    ),
    "an ensemble of two vocabularies": (f"{TRANSLATE} --ensemble {{other}}", "vocabularies of numbers-.* differ"),
    "an ensemble with a language model": (f"{TRANSLATE} --ensemble {{run}}", "is a language model, and a translator"),
    "an ensemble with oneself": (f"{TRANSLATE} --ensemble {{translator}}", "is named twice"),
    "one checkpoint twice": (f"{TRANSLATE} --checkpoint 40 --checkpoint 40", "checkpoint 40 is named twice"),
    "a translator without its tokenizers": (
        TRANSLATE,
        "no tokenizer to read",
        without_seal(lambda place, run: (run / "tokenizer" / "tokenizer.json").unlink()),
    ),
    "the tokenizer of a language model": (
        TRANSLATE,
        "'characters' tokenizer of a language model, not the two of a translator",
        without_seal(file("run/tokenizer/tokenizer.json", '{"kind": "characters"}')),
    ),
    "tokenizers damaged": (
        TRANSLATE,
        "tokenizer.json' is damaged",
        without_seal(file("run/tokenizer/tokenizer.json", '{"kind"')),
    ),
    "a configuration of another width": (
        TRANSLATE,
        "weights do not fit the model",
        without_seal(config(lambda tree: tree["model"].update(d_model=64))),
    ),
    "a configuration of an unknown task": (
        TRANSLATE,
        "(?s)configuration of the run numbers-.*data.task is 'poetry'",
        config(lambda tree: tree["data"].update(task="poetry")),
    ),
}
SEARCHES = {
    "a beam of 0": (f"{TRANSLATE} --beam 0", "beam_size is 0; expected greater than or equal to 1"),
    "a beam in words": (f"{TRANSLATE} --beam wide", "'--beam': 'wide'; expected a valid integer"),
    "more results than hypotheses": (f"{TRANSLATE} --beam 2 --n-best 3", "n_best is 3, and only .*2 hypotheses"),
    "no results": (f"{TRANSLATE} --n-best 0", "n_best is 0"),
    "the shortest longer than the longest": (
        f"{TRANSLATE} --min-length 9 --max-length 5",
        "min_length 9 and the end token are more than max_length 5",
    ),
    "a length penalty beyond numbers": (f"{TRANSLATE} --length-penalty 1000", "expected less than or equal to 5"),
    "an average of more digits than fit": (f"{TRANSLATE} --checkpoint {'9' * 5000}", "is none of them"),
    "a negative length": (f"{TRANSLATE} --min-length=-1", "min_length is -1"),
    "a length penalty of nan": (f"{TRANSLATE} --length-penalty nan", "length_penalty is nan.*finite"),
    "a temperature without sampling": (f"{TRANSLATE} --temperature 0.5", "temperature has no effect"),
    "a temperature of 0": (f"{TRANSLATE} --sample --temperature 0", "temperature is 0"),
    "top-p of 2": (f"{TRANSLATE} --sample --top-p 2", "top_p is 2"),
    "several mistakes of the search": (f"{TRANSLATE} --beam 0 --n-best 0", "(?s)2 reasons.*beam_size.*n_best"),
    "an unknown precision": (f"{TRANSLATE} --precision fp8", "precision is 'fp8'"),
    "an unknown quantisation": (f"{TRANSLATE} --quantize int3", "quantize is 'int3'"),
    "bf16 and int8": (f"{TRANSLATE} --precision bf16 --quantize int8", "set one of the two"),
    "no tokens at once": (f"{TRANSLATE} --batch-tokens 0", "greater than or equal to 1"),
    "an unknown alignment": (f"{TRANSLATE} --alignment --alignment-format svg", "'svg'; expected grid or pharaoh"),
    "a format of no alignment": (f"{TRANSLATE} --alignment-format pharaoh", "no effect without --alignment"),
    "results and alignments": (f"{TRANSLATE} --alignment --n-best 2", "add --json"),
    "a device that is not there": (f"{TRANSLATE} --device tpu", "device is 'tpu'"),
}
LINES = {
    "lines in Latin-1": (
        "translate {translator}",
        "Line 2 of standard input is not valid UTF-8: byte 0xE9 at its position 3",
        None,
        b"one\ncaf\xe9\nthree\n",
    ),
    "lines in UTF-16": ("translate {translator}", "Standard input is UTF-16", None, "one\n".encode("utf-16")),
    "a NUL byte": ("translate {translator}", "Line 3 of standard input holds a NUL byte", None, b"one\n\no\0ne\n"),
    "an input file that is not there": ("translate {translator} --input in.txt", "'in.txt' cannot be read: No such"),
    "an input file in Latin-1": (
        "translate {translator} --input in.txt --output out.txt",
        "Line 1 of 'in.txt' is not valid UTF-8",
        file("in.txt", b"\xff\n"),
    ),
    "an output that is a folder": (f"{TRANSLATE} -o out", "'out' is a folder", folder("out")),
    "an output in no folder": (f"{TRANSLATE} -o nowhere/out.txt", "there is no folder 'nowhere'"),
    "a text and a file": (f"{TRANSLATE} --input words.txt", "--text and --input both"),
    "a text of half a character": ("translate {translator} --text \udce9", "(?i)unicode"),
}
SCORES = {
    "an unknown split": ("evaluate {translator} --split tests", "no 'tests' split.*Did you mean 'test'"),
    "an unknown metric": ("evaluate {translator} --metric blue", "no metric named 'blue'. Did you mean 'bleu'"),
    "pairs that are not there": ("evaluate {translator} --data nowhere.tsv", "named 'nowhere.tsv'"),
    "a text to evaluate on": ("evaluate {translator} --data words.txt", "does not say how pairs stand in it"),
    "a file of bad pairs": ("evaluate {translator} --data bad.tsv", "no TAB: line 1", file("bad.tsv", "a b\n")),
    "a split of a file": ("evaluate {translator} --data test.tsv --split test", "--split has no effect"),
    "sequences of a translator": ("evaluate {translator} --batch-size 4", "--batch-size has no effect"),
    "a beam of a language model": ("evaluate {run} --beam 4", "--beam has no effect: .* has learned from a text"),
    "a comparison of a language model": ("evaluate {run} --compare {translator}", "--compare has no effect"),
    "two checkpoints of a language model": ("evaluate {run} --checkpoint 4 --checkpoint 8", "given twice"),
    "a comparison with a language model": (
        "evaluate {translator} --compare {run}",
        "has learned from a text, and .* sentence pairs is needed",
    ),
    "a checkpoint of no comparison": ("evaluate {translator} --compare-checkpoint 40", "there is no --compare"),
    "a comparison with itself": (
        "evaluate {translator} --compare {translator} --compare-checkpoint best",
        "differs from itself in nothing",
    ),
    "a comparison with nobody": ("evaluate {translator} --compare nobody", "There is no run 'nobody'"),
    "an output folder that is a file": ("evaluate {translator} -o words.txt", "'words.txt' is a file"),
    "a beam of 0 when scoring": ("evaluate {translator} --beam 0", "beam_size is 0"),
    "sentences all too long": (
        "evaluate {translator} --data long.tsv",
        "(?s)more than 32 tokens",
        file("long.tsv", "one " * 99 + "\t" + "eins " * 99 + "\n"),
    ),
    "an imported translator without pairs": (
        "evaluate {translator}",
        "was imported, and which data it was trained on is not known",
        lambda place, run: (run / "metrics.jsonl").unlink(),
    ),
    "the run's own pairs gone": (
        "evaluate {translator}",
        "named 'gone.tsv'",
        without_seal(config(lambda tree: tree["data"].update(source="gone.tsv"))),
    ),
}
CONVERSIONS = {
    "a translator to nowhere": ("convert {translator} --to-hf words.txt", "words.txt"),
    "a translator in no direction": ("convert {translator}", "needs one direction"),
    "a translator that Marian cannot hold": (
        "convert {translator} --to-hf out",
        "norm.placement",
        without_seal(config(lambda tree: tree["model"]["norm"].update(placement="pre"))),
    ),
    "a translator's average of too many": ("convert {translator} --to-hf out --checkpoint average-4", "keeps 3"),
    "a folder of nothing": ("convert hf --to-run new", "hf", folder("hf")),
    "a Marian without weights": (
        "convert hf --to-run new",
        "hf",
        file("hf/config.json", '{"model_type": "marian"}'),
    ),
    "a model of another kind": (
        "convert hf --to-run new",
        "bert",
        file("hf/config.json", '{"model_type": "bert"}'),
    ),
}
ROWS = {**PAIR_FILES, **DATES, **SETTINGS, **RUNS, **SEARCHES, **LINES, **SCORES, **CONVERSIONS}


@pytest.fixture
def scene(place, run, translator, other_translator):
    """A working directory with pairs, a language model and two translators."""
    lines = (place / "test.tsv").read_text(encoding="utf-8")
    (place / "pairs.tsv").write_text(lines, encoding="utf-8")
    return SimpleNamespace(place=place, run=run, translator=translator, other=other_translator)


def everything_below(folder: Path) -> dict[str, int]:
    """Files and their sizes; locks, which hold a process's number, apart."""
    return {str(path): path.stat().st_size for path in sorted(folder.rglob("*")) if path.name != ".lock"}


def one_message(said) -> str:
    """The message, its box and line ends taken off."""
    assert said.status == 2, said
    assert "Traceback" not in said.out + said.err
    assert said.err.count("error: ") == 1 or said.err.count("─ Error ─") == 1, said.err
    return re.sub(r"[\s│]+", " ", said.err)


def test_there_are_sixty_and_each_has_a_name_of_its_own():
    tables = (PAIR_FILES, DATES, SETTINGS, RUNS, SEARCHES, LINES, SCORES, CONVERSIONS)
    assert len(ROWS) == sum(len(table) for table in tables) >= 60


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_wrong_input_ends_with_one_clear_message_and_leaves_nothing(say, scene, monkeypatch, row):
    command, expected, prepare, typed = (*row, None, None)[:4]
    if prepare is not None:
        prepare(scene.place, scene.translator)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed or b"")))
    before = everything_below(scene.place)
    named = {"run": scene.run, "translator": scene.translator, "other": scene.other}
    said = say(*(word.format(**named) for word in shlex.split(command)))
    assert re.search(expected, one_message(said)), said.err
    assert said.out == "" or "translate" not in command
    assert everything_below(scene.place) == before
