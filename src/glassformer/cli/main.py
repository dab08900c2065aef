"""``glassformer``: the table of commands, and what happens when one goes wrong.

Commands are imported when they are called, so that ``glassformer --help`` answers at once.

Exit status: 0 done, 2 a mistake the user can mend (one message, no traceback), 130 stopped by Ctrl-C; anything else is
a fault of ours and shows its traceback.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from glassformer import __version__, trust
from glassformer.cli import lazy
from glassformer.cli.lazy import Command
from glassformer.errors import GlassformerError

# To add a command: write cli/NAME.py with one function, and its row here, in the order of the help page.
# The summary is the first line of the function's docstring. A group of commands has a row here and its own table.
COMMANDS = {
    "demo": Command(
        "glassformer.cli.demo:demo",
        "Train a small GPT on Python's own source, let it write, and study what its residual connection is for.",
    ),
    "train": Command(
        "glassformer.cli.train:train",
        "Train a model from a preset on your text or sentence pairs, or on a task.",
        opens=True,
    ),
    "resume": Command("glassformer.cli.resume:resume", "Go on with a run that was stopped or killed.", opens=True),
    "study": Command(
        "glassformer.cli.study:study",
        "Train a base and variants of it with several seeds, and compare them, paired by seed.",
        opens=True,
    ),
    "report": Command(
        "glassformer.cli.report:report",
        "Write a study's report: one offline page, and the same as Markdown, CSV and charts.",
        opens=True,
    ),
    "claims": Command(
        "glassformer.cli.claims:claims", "List claims about Transformers with their verdicts, or put them to the test."
    ),
    "scale": Command(
        "glassformer.cli.scale:scale", "Scaling laws: plan a training, fit runs, climb a ladder, look up a law."
    ),
    "sample": Command("glassformer.cli.sample:sample", "Let a trained model write.", opens=True),
    "translate": Command(
        "glassformer.cli.translate:translate", "Translate lines of text with a trained translator.", opens=True
    ),
    "evaluate": Command(
        "glassformer.cli.evaluate:evaluate",
        "Measure a model's loss; score a translator's translations, or the answers to a task.",
        opens=True,
    ),
    "chart": Command("glassformer.cli.chart:chart", "Draw the training and validation loss of runs."),
    "inspect": Command(
        "glassformer.cli.inspect:inspect",
        "Open a model on one offline page: attention, residual stream, lens, positions, gradients.",
        opens=True,
    ),
    "info": Command("glassformer.cli.info:info", "Count a model's parameters, FLOPs and bytes.", opens=True),
    "presets": Command("glassformer.cli.presets:presets", "List the models that can be named."),
    "convert": Command(
        "glassformer.cli.convert:convert",
        "Read or write a Hugging Face folder: a GPT-2 or, with an encoder, a Marian (OPUS-MT).",
        opens=True,
    ),
    "doctor": Command("glassformer.cli.doctor:doctor", "Say what this machine is, and what is slow or missing on it."),
}


def load(name: str) -> Any:
    """Import a command: its parser, or the group of commands that it is."""
    return lazy.load(name, COMMANDS[name])


def program() -> Any:
    """The whole command line, its commands not yet imported."""
    return lazy.group("glassformer", _glassformer, COMMANDS)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"glassformer {__version__}")
        raise typer.Exit


def _glassformer(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """A glass-box Transformer workbench: build, train, take apart and look inside small Transformers."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status. ``args`` without the program's name; default ``sys.argv``."""
    args = list(sys.argv[1:] if args is None else args)
    trust.vouch_for_named(args)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows each line when it is said
    try:
        program().main(args=args, prog_name="glassformer")
    except GlassformerError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):  # typer caught it while the command was writing
            return _reader_left()
        status = exit_.code
        assert status is None or isinstance(status, int)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return _reader_left()
        return status or 0
    return 0


def _complain(error: GlassformerError) -> None:
    """The message on standard error: no markup read from it, no wrapping when it goes to a file."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)


def _reader_left() -> int:
    """``glassformer ... | head``: nobody reads on, which is no fault; nor may Python's own flush at exit fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
