"""``glassformer``: the table of commands, and what happens when one goes wrong.

Commands are imported when they are called, so that ``glassformer --help`` answers at once.

Exit status, each but 0 with one message on standard error:

====  ===========================================================================================
0     done; also where the reader of a pipe left early (``| head``)
1     a study's numbers are complete, but part of its report could not be created (``study_table.py``)
2     something that the user can fix: an input, a file, a full disk
70    a bug in glassformer; the message says where the report of it is (``crash.py``)
130   stopped by Ctrl-C; 143 by SIGTERM
====  ===========================================================================================
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from glassformer import __version__, trust
from glassformer.cli import crash, lazy, streams
from glassformer.cli.lazy import Command
from glassformer.cli.terminal import Terminal, emit
from glassformer.errors import GlassformerError, shown

NO_MEMORY = (
    "There was not enough memory. What was saved before is intact. Take less at a time: a smaller batch or beam, fewer "
    "samples, a shorter sequence, or a smaller model."
)

CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]
"""Every mistake that the parser finds; the name under which typer has this class depends on its version."""

# To add a command: write cli/NAME.py with one function, and its row here, in the order of the help page.
# The summary is the first line of the function's docstring. A group of commands has a row here and its own table.
COMMANDS = {
    "demo": Command(
        "glassformer.cli.demo:demo",
        "Train a small GPT on Python's own source, generate text, and study what its residual connection is for.",
    ),
    "train": Command(
        "glassformer.cli.train:train",
        "Train a model from a preset on your text or sentence pairs, or on a task.",
        opens=True,
    ),
    "resume": Command("glassformer.cli.resume:resume", "Resume a run that was stopped or killed.", opens=True),
    "study": Command(
        "glassformer.cli.study:study",
        "Train a baseline and variants of it with several seeds, and compare them, paired by seed.",
        opens=True,
        bare={"--tune": "training.optimizer.learning_rate"},
    ),
    "report": Command(
        "glassformer.cli.report:report",
        "Write a study's report: one offline page, and the same as Markdown, CSV and charts.",
        opens=True,
    ),
    "claims": Command(
        "glassformer.cli.claims:claims", "List claims about Transformers with their verdicts, or test them."
    ),
    "scale": Command(
        "glassformer.cli.scale:scale", "Scaling laws: plan a training, fit runs, climb a ladder, look up a law."
    ),
    "sample": Command("glassformer.cli.sample:sample", "Generate text with a trained model.", opens=True),
    "translate": Command(
        "glassformer.cli.translate:translate", "Translate lines of text with a trained translator.", opens=True
    ),
    "evaluate": Command(
        "glassformer.cli.evaluate:evaluate",
        "Measure a model's loss; score a translator's translations, or the answers to a task.",
        opens=True,
    ),
    "chart": Command("glassformer.cli.chart:chart", "Plot the training and validation loss of runs."),
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
        emit(f"glassformer {__version__}")
        raise typer.Exit


def _glassformer(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """A glass-box Transformer workbench: build, train, take apart and look inside small Transformers."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; no exception leaves it.

    Args:
        args: without the program's name. By default those of this process, whose descriptors and hooks are then ours
            too.
    """
    words = list(sys.argv[1:] if args is None else args)
    if args is None:
        streams.own_process()
        crash.watch_process()
    streams.prepare()
    trust.vouch_for_named(words)
    try:
        status = _run(words)
    except Exception as error:  # noqa: BLE001 - the last resort
        status = _unexpected(error, words)
    lost = streams.lost_output()
    if lost is not None and not lost.reader_left:
        _complain(str(lost))
        return status or 2
    return status


def _run(words: list[str]) -> int:
    """The exit status; an exception that is raised is no message to the user yet."""
    out, err = sys.stdout, sys.stderr
    try:
        status = program().main(args=words, prog_name="glassformer", standalone_mode=False)
    except GlassformerError as error:
        return _complain(str(error), status=2)
    except CommandLineError as error:
        return _complain(_usage(error), status=2)
    except KeyboardInterrupt:
        return 130
    except typer.Abort as aborted:  # typer's word for an end of input that nobody expected
        raise aborted.__cause__ or aborted from None
    except SystemExit as exit_:
        sys.stdout, sys.stderr = out, err  # typer puts its own in their place when a pipe breaks
        if isinstance(exit_.__context__, BrokenPipeError):
            raise exit_.__context__ from None
        return _complain(f"The command was ended from inside, by sys.exit({exit_.code!r}) in imported code.", status=2)
    return status if isinstance(status, int) else 0


def _unexpected(error: Exception, words: list[str]) -> int:
    """Say what happened, once: output that cannot be written, a system that refuses, or a bug of ours."""
    if isinstance(error, OSError):
        lost = streams.lost_output()
        if lost is not None:
            return 0 if lost.reader_left else _complain(str(lost), status=2)
        if error.errno in streams.REFUSALS:
            return _complain(f"{_refusal(error)} What was saved before is intact.", status=2)
    if isinstance(error, MemoryError) or ("allocate" in str(error) and "memory" in str(error)):  # torch's is no class
        return _complain(f"{NO_MEMORY} ({shown(str(error))})", status=2)
    if crash.debugging():
        crash.show_traceback(error)
    return _complain(crash.describe(error, ["glassformer", *words]), status=crash.STATUS)


def _complain(message: str, *, status: int = 0) -> int:
    """The one message, on standard error; gives the status."""
    with contextlib.suppress(OSError):  # where nothing can be said, the exit status says it
        Terminal(stderr=True).print(Text.assemble(("error: ", "bold red"), message))
    return status


def _usage(error: Any) -> str:
    """What the parser complains about, and where the help is."""
    hint = f"\nTry '{error.ctx.command_path} --help' for help." if getattr(error, "ctx", None) is not None else ""
    return f"{error.format_message()}{hint}"


def _refusal(error: OSError) -> str:
    path = f" for {shown(str(error.filename))}" if error.filename is not None else ""
    return f"The operating system reported an error{path}: {error.strerror}."
