"""Wrong inputs by system: every option of every command, and every setting of every configuration, times odd values.

What is tried is read from the commands' own signatures and from the configurations' fields, so a new option or setting
is tried without a line here; only a new command needs a row in :data:`BASES`: a command line that works, or that is
refused as late as possible where working would take long. Alone, on all of them, with the count by outcome:

    python tests/wrong_inputs.py
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from glassformer.cli import main as cli
from glassformer.cli import scale
from glassformer.data.config import DataConfig
from glassformer.data.masked_config import MaskedConfig
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.translation_config import TranslationConfig
from glassformer.models.config import ModelConfig
from glassformer.tasks.training_config import TrainingConfig

INTEGERS = (
    "-1", "0", "", " ", "1.5", "1e3", "1e400", "9" * 30, "9" * 5_000, str(2**31), str(2**63), str(2**64), "nan", "-inf",
    "0x10", "1_000", "+1", "١", "²", "none", "true", "\x1b[31m7", "1\n2", "\udcff", "\0",
)  # fmt: skip
NUMBERS = (
    "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e308", "-1", "0", "", " ", "1,5", "1.234,5", "0x1p3",
    "9" * 5_000, "1e", "x", "none", "\x1b[31m7", "٣", "\udcff", "\0",
)  # fmt: skip
TEXTS = (
    "", " ", ".", "..x", "\x1b]0;title\x07", "\x9b31m", "\u202eabc", "[bold]x[/bold]", "[/]", "{0}", "%s", "x" * 5_000,
    "한" * 300, "\U0001f600", "a\nb", "a\rb", "a\tb", "-", "--", "=", "a=b=c", "model.=1", ",", "|", "latest", "none",
    "~nobody/x", "words.txt/x", "/proc/none/x", "\udcff\ud800", "\0", "[[[[", '{"a": 1}', "9" * 400, "nan", "true",
)  # fmt: skip
"""No value names a place outside the working directory that could be written."""
FLAGS = ("maybe", "", "2", "none", "\x1b[31m")
DEEP = "[" * 100_000

SMALL = {
    "model.d_model": 16, "model.n_layers": 1, "model.max_seq_len": 16, "model.attention.n_heads": 2,
    "training.batch_size": 4, "training.compile": "off", "training.telemetry.validation_tokens": 64,
    "training.telemetry.gradients_every": "none",
}  # fmt: skip
TRANSLATOR = {
    **SMALL, "model.n_encoder_layers": 1, "model.max_seq_len": 32, "data.max_length": 32, "data.tokenizer": "words",
    "training.batch_tokens": 256,
}  # fmt: skip


def _sets(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


BUDGET = ("--set", "training.max_seconds=0.5")
TEXT = ["nanogpt-shakespeare-cpu", "--data", "words.txt", *_sets(SMALL)]
"""A quick training, of a step unless the case says otherwise."""
PAIRS = ["transformer-tiny", "--data", "test.tsv", *_sets(TRANSLATOR), *BUDGET]
TASK_DATA = {"data.length": 4, "data.n_validation": 8}
TASK = ["nanogpt-shakespeare-cpu", "--data", "copy", *_sets({**SMALL, **TASK_DATA}), *BUDGET]
MASKED = ["masked-small", "--data", "words.txt", *_sets({**SMALL, "data.bpe_vocab_size": 300}), *BUDGET]
END = ("--steps", "1")

TOO_LARGE = ["--set", "model.d_model=100000000"]
"""Refused for want of memory, later than almost everything else of a study."""

BASES: dict[str, list[str]] = {
    "demo": ["--seconds", "nan"],
    "train": [*TEXT, *BUDGET, *END],
    "resume": ["{run}"],
    "study": [*TEXT, *END, "--vary", "model.residual=none", "--seeds", "2", *TOO_LARGE],
    "report": ["no-study"],
    "claims": ["pe-norm"],
    "sample": ["{run}", "--prompt", "abc", "-n", "3", "--compile", "off"],
    "translate": ["{translator}", "--text", "one two"],
    "fill": ["{masked}", "--text", "o[MASK]e"],
    "evaluate": ["{run}"],
    "chart": ["{run}", "-o", "chart.html"],
    "inspect": ["{run}", "--text", "abc", "-o", "page.html"],
    "info": ["gpt2"],
    "presets": [],
    "convert": ["{run}", "--to-hf", "folder"],
    "doctor": ["--no-measure"],
    "scale plan": ["--compute", "1e12", "--vocab", "64"],
    "scale fit": ["runs.csv", "--draws", "100"],
    "scale ladder": [*TEXT, "--budget", "1e9", "--dry-run"],
    "scale laws": ["chinchilla", "--at", "N=1e9", "--at", "D=1e9"],
    "scale noise": ["{run}"],
}

CONFIGS: tuple[tuple[str, type[BaseModel], list[str]], ...] = (
    ("model", ModelConfig, [*TEXT, *BUDGET]),
    ("model", ModelConfig, PAIRS),
    ("training", TrainingConfig, [*TEXT, *BUDGET]),
    ("data", DataConfig, [*TEXT, *BUDGET]),
    ("data", TranslationConfig, PAIRS),
    ("data", SyntheticConfig, TASK),
    ("data", MaskedConfig, MASKED),
)


@dataclass(frozen=True)
class Case:
    """A command line; ``{run}``, ``{translator}`` and ``{masked}`` stand for trained runs."""

    about: str
    words: tuple[str, ...]


def cases() -> list[Case]:
    """All of them, always in the same order."""
    return [*of_options(), *of_settings(), *of_files()]


def _brief(value: str) -> str:
    return repr(value) if len(value) <= 30 else f"{value[:10]!r}... ({len(value)} characters)"


def sample_of(found: list[Case], count: int) -> list[Case]:
    """So many of them, spread evenly over all."""
    step = max(1.0, len(found) / count)
    return [found[math.floor(index * step)] for index in range(min(count, len(found)))]


def of_options() -> Iterator[Case]:
    """Every parameter of every command."""
    for command in commands():
        base = BASES[command]
        for parameter in parameters(command):
            for value in parameter.odd_values:
                words = [*command.split(), *parameter.put(base, value)]
                yield Case(f"{command} {parameter.option or parameter.name} {_brief(value)}", tuple(words))


def of_settings(configs: Sequence[tuple[str, type[BaseModel], list[str]]] = CONFIGS) -> Iterator[Case]:
    """Every setting of every configuration."""
    for prefix, config, base in configs:
        for path, annotation in fields(config, prefix):
            end = () if path == "training.max_steps" else END
            for value in odd_values(annotation):
                words = ["train", *base, *end, "--set", f"{path}={value}"]
                yield Case(f"{base[0]} {path}={_brief(value)}", tuple(words))


def of_files() -> Iterator[Case]:
    """Files that describe a run, a model or a study, written by :func:`write_files`."""
    commands = ("train {} --data words.txt", "info {}", "study {}", "scale plan --fit {}", "scale fit {}", "inspect {}")
    for name in FILES:
        for command in commands:
            yield Case(command.format(name), tuple(command.format(name).split()))
    study = ("study", "nanogpt-shakespeare-cpu", "--data", "words.txt")
    for about, words in {
        "10,000 settings": ["train", *TEXT, *BUDGET, *END, *_sets({f"model.x{n}": n for n in range(10_000)})],
        "10,000 times one setting": ["train", *TEXT, *["--set", "model.x=1"] * 10_000],
        "10,000 variants": [*study, *[word for n in range(10_000) for word in ("--vary", f"model.d_model={n}")]],
        "a variant of 10,000 values": [*study, "--vary", "model.d_model=" + "|".join(map(str, range(10_000)))],
        "options nested without end": ["train", *TEXT, "--set", f"model.norm.options.x={DEEP}"],
        "a dotted path without end": ["train", *TEXT, "--set", "model." * 10_000 + "x=1"],
        "sequences of 10^12 tokens": ["info", "gpt2", "--batch-size", "9" * 30, "--seq-len", "9" * 12],
        "a wide model of many layers": ["info", "gpt2", "--set", "n_layers=10000000", "--probes"],
        "10^9 samples": ["sample", "{run}", "--samples", "1000000000"],
        "10^9 seeds": [*study, "--vary", "model.residual=none", "--seeds", "1000000000"],
        "seeds of 40 digits": [*study, "--vary", "model.residual=none", "--seeds", f"{'9' * 40},1"],
    }.items():
        yield Case(about, tuple(words))


FILES: dict[str, str | bytes] = {
    "deep.json": '{"model": ' * 50_000 + "1" + "}" * 50_000,
    "list.json": DEEP,
    "halfway.json": '{"model": ' * 400 + "1" + "}" * 400,
    "deep.toml": "preset = " + DEEP,
    "tables.toml": f"preset = 'gpt-nano'\n[set.{'a.' * 5_000}b]\nx = 1\n",
    "digits.json": '{"model": {"d_model": ' + "9" * 5_000 + "}}",
    "digits.toml": "preset = 'gpt-nano'\nsteps = " + "9" * 5_000,
    "infinite.json": '{"model": {"d_model": 1e999, "vocab_size": NaN}}',
    "date.toml": "preset = 2020-01-01\nsteps = 2020-01-01T00:00:00Z\n",
    "escapes.json": '{"model": {"\\u001b[31m": 1}, "\\u202e": 2}',
    "escapes.toml": 'preset = "\\u001b]0;x\\u0007"\n',
    "surrogate.json": '{"model": {"norm": {"kind": "\\ud800"}}}',
    "null.json": "null",
    "number.json": "1",
    "empty.json": "",
    "empty.toml": "",
    "binary.json": bytes(range(256)),
    "utf16.toml": "preset = 'gpt2'".encode("utf-16"),
    "marked.json": b"\xef\xbb\xbf{}",
    "twice.json": '{"model": {}, "model": []}',
    "leaves.py": "raise SystemExit(3)\n",
    "says.py": "import sys\nsys.exit('\\x1b[31mgone')\n",
    "slips.py": "study = (\n",
    "endless.py": "def f(): return f()\nf()\n",
    "nothing.py": "study = 1\n",
    "function.py": "def study(): raise SystemExit\n",
    "interrupted.py": "def study(): raise EOFError\n",
    "nul.py": "\0",
}


def write_files(folder: Path) -> None:
    """What :func:`of_files` names."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = [(1e7 * 2**i, 2e9 * 3 ** (i % 3), 2 + 400 / (1e7 * 2**i) ** 0.34 + 0.01 * (i % 3)) for i in range(12)]
    (folder / "runs.csv").write_text("N,D,loss\n" + "".join(f"{n},{d},{loss}\n" for n, d, loss in rows))


# --- what there is to try ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One option or argument of a command, as its signature declares it."""

    name: str
    option: str | None
    """None of an argument."""
    annotation: Any

    @property
    def odd_values(self) -> tuple[str, ...]:
        return odd_values(self.annotation)

    def put(self, base: list[str], value: str) -> list[str]:
        """The base with this value: an option behind the others, where it counts, an argument in the first's place."""
        if self.option is None:
            named = bool(base) and not base[0].startswith("-")
            return [*(base[1:] if named else base), "--", value]
        return [*base, f"{self.option}={value}" if self.option.startswith("--") else f"{self.option}{value}"]


def commands() -> list[str]:
    """The names of all commands, those of groups behind their group's."""
    alone = [name for name in cli.COMMANDS if name != "scale"]
    return [*alone, *(f"scale {name}" for name in scale.COMMANDS)]


def parameters(command: str) -> Iterator[Parameter]:
    """The options and arguments of a command."""
    group, _, name = command.rpartition(" ")
    place = (scale.COMMANDS if group else cli.COMMANDS)[name].place
    module, _, attribute = place.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    hints = typing.get_type_hints(function, include_extras=True)
    for each in inspect.signature(function).parameters:
        if hints[each] is typer.Context:
            continue
        annotation, info = typing.get_args(hints[each])
        if isinstance(info, typer.models.ArgumentInfo):
            yield Parameter(each, None, annotation)
            continue
        declared = [word for word in (info.param_decls or ()) if word.startswith("--")]
        yield Parameter(each, (declared or [f"--{each.strip('_').replace('_', '-')}"])[0].split("/")[0], annotation)


def fields(config: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and types of all settings of a configuration."""
    for name, field in config.model_fields.items():
        inner = [each for each in _members(field.annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
        if inner:
            yield from fields(inner[0], f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", field.annotation


def odd_values(annotation: Any) -> tuple[str, ...]:
    """Values that are wrong or strange for a type."""
    members = _members(annotation)
    if bool in members:
        return FLAGS
    if int in members:
        return INTEGERS
    return NUMBERS if float in members else TEXTS


def _members(annotation: Any) -> list[Any]:
    """The plain types that an annotation is made of."""
    if hasattr(annotation, "__metadata__"):
        return _members(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple):
        return [member for each in typing.get_args(annotation) for member in _members(each)]
    return [annotation]


if __name__ == "__main__":
    import pytest

    tests = str(Path(__file__).parent / "cli/test_generated_wrong_inputs.py")
    if len(sys.argv) > 1:  # so many, spread over all
        os.environ["GLASSFORMER_WRONG_INPUTS"] = sys.argv[1]
        sys.exit(pytest.main(["-q", "-s", f"{tests}::test_wrong_inputs_of_every_kind_are_refused_or_fine"]))
    sys.exit(pytest.main(["-q", "-s", "-m", "slow", tests]))
