"""A hundred wrong inputs: each ends with status 2 and one message, shows no traceback and leaves nothing behind.

A row is a name, the command line, and what the message must say. ``{words}`` is a text of some thousands of characters,
``{run}`` a trained run; ``given`` in a row's third place prepares what is wrong on the disk.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from seals import unsealed

from glassformer.runs.locks import FileLock

TRAIN = "train nanogpt-shakespeare-cpu --data words.txt"


def file(name: str, content: str | bytes) -> Callable[[Path, Path], None]:
    """Prepare a file in the working directory; ``run/...`` is in the run's folder."""

    def write(place: Path, run: Path) -> None:
        path = run / name.removeprefix("run/") if name.startswith("run/") else place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def folder(name: str) -> Callable[[Path, Path], None]:
    return lambda place, run: (place / name).mkdir(parents=True)


def without(name: str) -> Callable[[Path, Path], None]:
    return lambda place, run: (run / name).unlink()


def damaged(pattern: str) -> Callable[[Path, Path], None]:
    """Change one byte in the middle of every file of the run that matches."""

    def damage(place: Path, run: Path) -> None:
        files = sorted(run.glob(pattern))
        assert files
        for path in files:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    return damage


def config(change: Callable[[dict], object]) -> Callable[[Path, Path], None]:
    """Change the run's config.json."""

    def edit(place: Path, run: Path) -> None:
        tree = json.loads((run / "config.json").read_text())
        change(tree)
        (run / "config.json").write_text(json.dumps(tree))

    return edit


def several_runs(place: Path, run: Path) -> None:
    for number in (1, 2):
        (place / "runs" / f"twin-{number}").mkdir()
        (place / "runs" / f"twin-{number}" / "config.json").write_text("{}")


PART = "--set model.part_files=own.py --set model.norm.kind=own"
HEAD = "from torch import nn\nfrom glassformer.registry import register\n"

# name: (command line, what the message says, what is prepared)
COMMANDS = {
    "unknown command": ("trian gpt2", "No such command 'trian'"),
    "unknown option": (f"{TRAIN} --stepps 3", "No such option"),
    "unknown global option": ("--verbos", "No such option"),
    "no preset": ("train", "Missing argument 'PRESET'"),
    "two presets": ("train gpt2 gpt-mini", "unexpected extra argument"),
    "option without value": (f"{TRAIN} --steps", "requires an argument"),
    "no run to resume": ("resume", "Missing argument 'RUN'"),
    "chart of nothing": ("chart", "Missing argument"),
}
NUMBERS = {
    "steps in words": (f"{TRAIN} --steps many", "'--steps': 'many'; expected a valid integer"),
    "steps with a fraction": (f"{TRAIN} --steps 1.5", "'--steps': '1.5'; expected a valid integer"),
    "no steps": (f"{TRAIN} --steps 0", "training.max_steps is 0; expected greater than or equal to 1"),
    "negative steps": (f"{TRAIN} --steps -5", "training.max_steps is -5"),
    "negative seed": (f"{TRAIN} --seed -1", "training.seed is -1"),
    "seed of 100 bits": (f"{TRAIN} --seed {2**100}", "training.seed is 1267"),
    "learning rate 0": (f"{TRAIN} --set training.optimizer.learning_rate=0", "learning_rate is 0.*greater than 0"),
    "learning rate nan": (f"{TRAIN} --set training.optimizer.learning_rate=nan", "learning_rate is nan.*finite"),
    "learning rate inf": (f"{TRAIN} --set training.optimizer.learning_rate=inf", "learning_rate is inf.*finite"),
    "learning rate in words": (
        f"{TRAIN} --set training.optimizer.learning_rate=fast",
        "is 'fast'; expected a valid number",
    ),
    "beta of 1": (f"{TRAIN} --set training.optimizer.beta1=1.0", r"beta1 is 1\.0; expected less than 1"),
    "dropout of 1": (f"{TRAIN} --set model.dropout=1", "model.dropout is 1.*less than 1"),
    "negative dropout": (f"{TRAIN} --set model.dropout=-0.1", r"model.dropout is -0\.1"),
    "no heads": (f"{TRAIN} --set model.attention.n_heads=0", "n_heads is 0"),
    "half a layer": (f"{TRAIN} --set model.n_layers=0.5", "n_layers is '0.5'; expected a valid integer"),
    "validation of everything": (f"{TRAIN} --set data.validation_fraction=1", "validation_fraction is 1.*less than 1"),
    "time budget below 0": (f"{TRAIN} --set training.max_seconds=-3", "max_seconds is -3"),
    "patience 0": (f"{TRAIN} --set training.patience=0", "patience is 0"),
    "keep no checkpoint": (f"{TRAIN} --set training.checkpoints.keep_last=0", "keep_last is 0"),
    "fraction above 1": (f"{TRAIN} --set training.schedule.final_fraction=2", "final_fraction is 2"),
}
TOO_LARGE = {
    "a batch of 10^9": (f"{TRAIN} --set training.batch_size=1000000000", r"needs about .* of memory"),
    "a width of 10^9": (f"{TRAIN} --set model.d_model=1000000000", "no matrix can be so large"),
    "10^9 layers": (f"{TRAIN} --set model.n_layers=1000000000", "n_layers is 1000000000; expected .* 2000"),
    "a width of 10^30": (f"{TRAIN} --set model.d_model={4 * 10**30}", "d_model.*4000.* is too large"),
    "a context of 10^9": (f"{TRAIN} --set model.max_seq_len=1000000000 --set training.seq_len=32", "of memory"),
    "a window of 10^6": (f"{TRAIN} --set model.max_seq_len=1000000", "text has .* tokens, and one window"),
    "heads that do not divide 10^9": (
        f"{TRAIN} --set model.d_model=1000000000 --set model.attention.n_heads=3",
        "d_model 1000000000 does not divide into 3 heads",
    ),
    "10^12 tokens of bpe": (
        f"{TRAIN} --set data.tokenizer=bpe --set data.bpe_vocab_size=1000000000000",
        "bpe_vocab_size is 1000000000000; expected less than or equal to 1000000",
    ),
}
SETTINGS = {
    "setting without value": (f"{TRAIN} --set model.residual", "NAME=VALUE.*'model.residual'"),
    "setting without name": (f"{TRAIN} --set =3", "NAME=VALUE"),
    "empty setting": (f"{TRAIN} --set ''", "NAME=VALUE"),
    "unknown room": (f"{TRAIN} --set modle.residual=none", "'modle.residual' is not a setting. Did you mean 'model'"),
    "unknown setting": (f"{TRAIN} --set model.d_modle=3", "'model.d_modle' is not a setting. Did you mean 'd_model'"),
    "unknown choice": (f"{TRAIN} --set model.residual=nobody", "model.residual is 'nobody'.*'none'"),
    "a group is no value": (f"{TRAIN} --set model.attention=fast", "is a group of settings"),
    "a value has no parts": (f"{TRAIN} --set model.d_model.size=3", "'d_model' is a value"),
    "truth in words": (f"{TRAIN} --set model.head.tied=perhaps", "head.tied is 'perhaps'; expected a valid boolean"),
    "unknown norm": (f"{TRAIN} --set model.norm.kind=layernrm", "norm.kind is 'layernrm'.*Did you mean 'layernorm'"),
    "unknown optimizer": (f"{TRAIN} --set training.optimizer.kind=adamm", "kind is 'adamm'; expected 'adamw'"),
    "none where a value must be": (
        f"{TRAIN} --set training.batch_size=none",
        "batch_size is 'none'; expected a valid int",
    ),
    "vocabulary of one's own": (f"{TRAIN} --set model.vocab_size=100", "model.vocab_size cannot be set"),
    "Unicode setting": (f"{TRAIN} --set 모델.층=3", "'모델.층' is not a setting"),
    "three mistakes at once": (
        f"{TRAIN} --set model.d_modle=3 --set model.residual=x --set training.batch_size=-1",
        "(?s)3 reasons.*d_modle.*residual.*batch_size",
    ),
    "option and setting": (f"{TRAIN} --steps 3 --set training.max_steps=4", "training.max_steps is given twice"),
}
CONFLICTS = {
    "no end": (f"{TRAIN} --set training.max_steps=none", "training has no end"),
    "unequal micro-batches": (
        f"{TRAIN} --set training.micro_batch_size=5",
        "12 is not a multiple of micro_batch_size 5",
    ),
    "noam without warm-up": (
        f"{TRAIN} --set training.schedule.kind=noam --set training.schedule.warmup_steps=0",
        "noam schedule needs",
    ),
    "longer than the context": (
        f"{TRAIN} --set training.seq_len=100",
        "seq_len is 100, more than the context",
    ),
    "heads that do not divide": (
        f"{TRAIN} --set model.attention.n_heads=5",
        r"does not divide into 5 heads.*1, 2, 4, 8",
    ),
    "rotary without attention": (
        f"{TRAIN} --set model.positions.kind=rotary --set model.sublayers=feedforward",
        "acts inside attention",
    ),
    "skip around nothing": (
        f"{TRAIN} --set model.residual=attention --set model.sublayers=feedforward",
        "leaves out",
    ),
    "tied to nothing": (f"{TRAIN} --set model.embedding.tokens=off", "head.tied uses the token embedding"),
    "option of another tokenizer": (f"{TRAIN} --set data.unknown=replace --set data.tokenizer=bytes", "has no effect"),
    "column of a file": (f"{TRAIN} --set data.text_column=text", "text_column has no effect"),
    "a device that is not there": (f"{TRAIN} --set training.device=cuda:7", "training.device is 'cuda:7'"),
    "a device that never was": (f"{TRAIN} --set training.device=gpu", "expected auto, cpu, cuda"),
}
NAMES = {
    "near miss of a preset": ("train gpt-nanoo", "no preset 'gpt-nanoo'. Did you mean 'gpt-nano'"),
    "preset in capitals": ("train GPT2", "no preset 'GPT2'. Did you mean 'gpt2'"),
    "no preset at all": ("train xyzzy", "no preset 'xyzzy'. Known: .*gpt2"),
    "empty preset": ("train ''", "no preset ''"),
    "a path as a preset": ("train ../gpt2", "no preset"),
    "a run's name with a slash": (f"{TRAIN} --name a/b", "'a/b' cannot name a run.*'/'"),
    "an empty name": (f"{TRAIN} --name ''", "cannot name a run: it is empty"),
    "a very long name": (f"{TRAIN} --name {'x' * 300}", "300 characters"),
    "info of nothing": ("info gtp2", "'gtp2' is not a preset.*Did you mean 'gpt2'"),
    "info with an unknown type": ("info gpt2 --dtype float7", "--dtype is 'float7'; expected one of float32"),
    "info beyond the context": ("info gpt2 --seq-len 5000", "5000 tokens does not fit"),
    "info with no batch": ("info gpt2 --batch-size 0", "'--batch-size': '?0'?; expected greater than or equal to 1"),
}
DATA = {
    "no such file": ("train gpt-nano --data wordz.txt", "no file, folder .*'wordz.txt'. Did you mean 'words.txt'"),
    "near miss of a built-in text": ("train gpt-nano --data tinyshakespear", "Did you mean 'tinyshakespeare'"),
    "nothing as data": ("train gpt-nano --data ''", "data.source is ''; expected at least 1 character"),
    "empty file": ("train gpt-nano --data empty.txt", "'empty.txt' is empty", file("empty.txt", "")),
    "one letter": ("train gpt-nano --data a.txt", "has 1 characters.*at least 2", file("a.txt", "a")),
    "short text": (TRAIN.replace("words", "short"), "Use more text", file("short.txt", "to be or not to be " * 4)),
    "binary file": ("train gpt-nano --data b.bin", "is binary", file("b.bin", bytes(range(256)) * 9)),
    "Latin-1": (
        "train gpt-nano --data l.txt",
        "not valid UTF-8: byte 0xE9 at position 3",
        file("l.txt", b"caf\xe9" * 99),
    ),
    "UTF-16": ("train gpt-nano --data u.txt", "UTF-16LE without", file("u.txt", "words of a text".encode("utf-16-le"))),
    "empty folder": ("train gpt-nano --data texts", "holds no text", folder("texts")),
    "folder of binaries": ("train gpt-nano --data bin", "all 1 files were skipped", file("bin/x", b"\0\1\2")),
    "path with spaces": ("train gpt-nano --data 'my text.txt'", "named 'my text.txt'"),
    "Unicode path": ("train gpt-nano --data 한국어.txt", "named '한국어.txt'"),
    "a very long path": (f"train gpt-nano --data {'x' * 5000}", "xxx"),
    "no folder of GPT-2 files": (
        f"{TRAIN} --set data.tokenizer=gpt2 --set data.gpt2_files=nowhere",
        "nowhere",
    ),
    "a hub name without a name": ("train gpt-nano --data hf:", "names no data set"),
}
PARTS = {
    "part file that is not there": (f"{TRAIN} {PART}", "part_files names 'own.py', and there is no such file"),
    "part file with a slip": (f"{TRAIN} {PART}", "own.py.*SyntaxError", file("own.py", "def norm(:\n")),
    "part file that fails": (f"{TRAIN} {PART}", "ZeroDivisionError", file("own.py", "1 / 0  # fails\n")),
    "part file that exits": (f"{TRAIN} {PART}", "own.py.*SystemExit", file("own.py", "raise SystemExit(3)\n")),
    "part file that is text": (f"{TRAIN} {PART.replace('.py', '.txt')}", "must end in .py", file("own.txt", "words\n")),
    "part of another name": (
        f"{TRAIN} {PART}",
        "norm.kind is 'own'",
        file("own.py", HEAD + "@register('norm', 'owm-1')\nclass OtherNorm1(nn.LayerNorm): pass\n"),
    ),
    "name that is taken": (
        f"{TRAIN} {PART}",
        "'layernorm' is registered already",
        file("own.py", HEAD + "@register('norm', 'layernorm')\nclass Taken(nn.LayerNorm): pass\n"),
    ),
    "part that refuses its options": (
        f"{TRAIN} {PART}-narrow",
        "options.*unexpected keyword argument 'eps'",
        file(
            "own.py",
            HEAD + "@register('norm', 'own-narrow')\nclass Narrow(nn.Identity):\n    def __init__(self, d): ...\n",
        ),
    ),
}
RUNS = {
    "no such run": ("resume smal-2020", "There is no run 'smal-2020'.*Did you mean small-"),
    "a folder that is no run": ("resume notes", "not of a run", folder("notes")),
    "a file that is no run": ("resume words.txt", "is a file, and a run is a folder"),
    "an empty run's name": ("resume ''", "There is no run ''"),
    "several runs are meant": ("resume twin", "begins the name of 2 runs", several_runs),
    "latest of none": ("resume latest --runs elsewhere", "There is no run in elsewhere yet"),
    "config.json cut short": (
        "resume {run}",
        "config.json is damaged: it is not JSON",
        file("run/config.json", '{"mod'),
    ),
    "config.json is a list": ("resume {run}", "it holds a list", file("run/config.json", "[]")),
    "config.json without a model": (
        "resume {run}",
        "configuration of the run small-.*model is missing",
        config(lambda tree: tree.pop("model")),
    ),
    "config.json with a strange setting": (
        "evaluate {run}",
        "'model.n_layer' is not a setting. Did you mean 'n_layers'",
        config(lambda tree: tree["model"].update(n_layer=3)),
    ),
    "config.json of another model": (
        "evaluate {run}",
        "weights do not fit the model: .*is \\[",
        config(lambda tree: tree["model"].update(d_model=32)),
        unsealed,
    ),
    "every checkpoint damaged": (
        "resume {run}",
        "No checkpoint in .* can be used",
        damaged("checkpoints/step-*/model.safetensors"),
    ),
    "best checkpoint damaged": (
        "evaluate {run}",
        "is damaged: model.safetensors is not what was written",
        damaged("checkpoints/step-*/model.safetensors"),
    ),
    "manifest damaged": (
        "evaluate {run}",
        "manifest.json is not what was written",
        damaged("checkpoints/*/manifest.json"),
    ),
    "no such checkpoint": ("evaluate {run} --checkpoint 5", "no checkpoint of step 5.*Steps saved: 4, 8"),
    "checkpoint in words": ("evaluate {run} --checkpoint last", "'latest', 'best', the number.*'last'"),
    "negative checkpoint": ("evaluate {run} --checkpoint=-1", "'-1' is none of them"),
    "tokenizer missing": (
        "evaluate {run}",
        "no tokenizer to read",
        without("tokenizer/tokenizer.json"),
        unsealed,
    ),
    "tokenizer damaged": (
        "evaluate {run}",
        "tokenizer.json' is damaged",
        file("run/tokenizer/tokenizer.json", "{]"),
        unsealed,
    ),
    "tokenizer of a strange kind": (
        "evaluate {run}",
        "no tokenizer of kind 'morse'",
        file("run/tokenizer/tokenizer.json", '{"kind": "morse"}'),
        unsealed,
    ),
    "metrics damaged": (
        "chart {run}",
        "Line 1 of .*metrics.jsonl is not a record",
        file("run/metrics.jsonl", '{"step": 1\n{"step": 2}\n'),
    ),
    "metrics empty": ("chart {run}", "No loss has been logged yet", file("run/metrics.jsonl", "")),
    "text with strange letters": (
        "evaluate {run} --data words.txt",
        "characters outside the vocabulary of 13: 'o' \\(U\\+006F\\) at",
    ),
    "text of one letter": ("evaluate {run} --data a.txt", "has 1 token", file("a.txt", "a")),
    "no text": ("evaluate {run} --data nowhere.txt", "named 'nowhere.txt'"),
    "evaluate on a strange device": ("evaluate {run} --device tpu", "device is 'tpu'"),
    "evaluate with no batch": ("evaluate {run} --batch-size 0", "greater than or equal to 1"),
    "chart of an unknown kind": ("chart {run} -o loss.docx", "suffix is '.docx'"),
    "chart in a strange theme": ("chart {run} --theme purple", "purple"),
    "chart into a file's place": ("chart {run} -o words.txt/loss.html", "cannot be written"),
}
SAMPLES = {
    "sample of no run": ("sample nobody", "There is no run 'nobody'"),
    "an empty prompt": ("sample {run} --prompt ''", "The prompt is empty"),
    "a prompt of strange letters": (
        "sample {run} --prompt 안녕",
        r"characters outside the vocabulary.*'안' \(U\+C548\)",
    ),
    "no new tokens": ("sample {run} -n 0", "max_new_tokens is 0"),
    "a temperature below 0": ("sample {run} --temperature=-1", "temperature is -1"),
    "a temperature of nan": ("sample {run} --temperature nan", "temperature is nan.*finite"),
    "top-k of 0": ("sample {run} --top-k 0", "top_k is 0"),
    "top-p of 2": ("sample {run} --top-p 2", "top_p is 2"),
    "top-p and greedy": ("sample {run} --top-p 0.5 --temperature 0", "temperature 0 .greedy."),
    "a seed below 0": ("sample {run} --seed=-1", "seed is -1"),
    "quantized to int3": ("sample {run} --quantize int3", "quantize is 'int3'"),
    "an unknown precision": ("sample {run} --precision fp8", "precision is 'fp8'"),
    "an empty stop string": ("sample {run} --stop ''", "(?i)stop"),
    "no samples": ("sample {run} --samples 0", "greater than or equal to 1"),
}
CONVERSIONS = {
    "in no direction": ("convert {run}", "needs one direction"),
    "in both directions": ("convert {run} --to-hf out --to-run new", "needs one direction"),
    "a model that GPT-2 cannot hold": ("convert {run} --to-hf out", "."),
    "from nowhere": ("convert nowhere/gpt --to-run new", "nowhere/gpt"),
    "from a folder of nothing": ("convert hf --to-run new", "hf", folder("hf")),
}
PLACES = {
    "runs below a file": (f"{TRAIN} --runs words.txt/runs", "cannot be made in words.txt/runs"),
    "runs below the kernel": (f"{TRAIN} --runs /proc/none/runs", "cannot be made in /proc/none/runs"),
}
ROWS = {
    **COMMANDS,
    **NUMBERS,
    **TOO_LARGE,
    **SETTINGS,
    **CONFLICTS,
    **NAMES,
    **DATA,
    **PARTS,
    **RUNS,
    **SAMPLES,
    **CONVERSIONS,
    **PLACES,
}


def everything_below(folder: Path) -> dict[str, int]:
    """Files and their sizes; locks, which hold a process's number, apart."""
    return {str(path): path.stat().st_size for path in sorted(folder.rglob("*")) if path.name != ".lock"}


def one_message(said) -> str:
    """The message, its box and line ends taken off."""
    assert said.status == 2, said
    assert "Traceback" not in said.out + said.err
    assert said.err.count("error: ") == 1 or said.err.count("─ Error ─") == 1, said.err
    return re.sub(r"[\s│]+", " ", said.err)


def test_there_are_a_hundred_and_each_has_a_name_of_its_own():
    tables = (COMMANDS, NUMBERS, TOO_LARGE, SETTINGS, CONFLICTS, NAMES, DATA, PARTS, RUNS, SAMPLES, CONVERSIONS, PLACES)
    assert len(ROWS) == sum(len(table) for table in tables) >= 100


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_wrong_input_ends_with_one_clear_message_and_leaves_nothing(say, place, run, row):
    command, expected, *given = row
    for prepare in given:
        prepare(place, run)
    before = everything_below(place)
    said = say(*(word.format(run=run) for word in shlex.split(command)))
    assert re.search(expected, one_message(said)), said.err
    assert everything_below(place) == before


def test_a_run_in_use_is_left_alone(say, place, run):
    say("train", "gpt-nano")  # a mistake before does not matter
    (run / "checkpoints" / "step-00000008").rename(place / "put-away")
    lock = FileLock(run / ".lock")
    assert lock.acquire(wait=False)
    try:
        said = say("resume", run.name)
    finally:
        lock.release()
    message = one_message(said)
    assert f"is being trained already, by process {os.getpid()}" in message


REAL = [
    "unknown command",
    "every checkpoint damaged",
    *(
        pytest.param(name, marks=pytest.mark.slow(reason="a process that imports torch, as another case's does"))
        for name in ("a width of 10^9", "three mistakes at once", "binary file")
    ),
]


@pytest.mark.parametrize("name", REAL)
def test_a_real_process_says_the_same(place, run, name):
    command, expected, *given = ROWS[name]
    for prepare in given:
        prepare(place, run)
    words = [word.format(run=run) for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, "-m", "glassformer", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert re.search(expected, re.sub(r"[\s│]+", " ", done.stderr)), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
