"""No text from a file, a model or an argument acts on the terminal, and nothing else in ``cli`` prints past it."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from seals import resealed

import glassformer.cli
from glassformer.cli.main import main
from glassformer.cli.terminal import Terminal, emit_json, emit_payload, escaped, warn

ROOM = Path(glassformer.cli.__file__).parent
HOSTILE = "\x1b]0;gone\x07\x1b[2J\x9b31m\rover\u202eesrever\x7f\x00"
SEEN = r"\x1b]0;gone\x07\x1b[2J\x9b31m\rover\u202eesrever\x7f\x00"


@pytest.fixture
def at_a_terminal(monkeypatch):
    """``at_a_terminal(call)``: what a call writes when standard output and standard error are a terminal."""

    def written(call) -> str:
        leader, follower = pty.openpty()
        with os.fdopen(follower, "w", encoding="utf-8", newline="") as stream, os.fdopen(leader, "rb", 0) as other:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stream)
                patch.setattr(sys, "stderr", stream)
                patch.setenv("COLUMNS", "500")
                patch.setenv("TERM", "xterm")
                call()
                stream.flush()
            os.set_blocking(other.fileno(), False)
            found = b"".join(iter(lambda: other.read(65536), None))
        return found.decode().replace("\r\n", "\n")

    return written


def test_what_moves_a_cursor_or_turns_the_writing_is_made_visible_and_line_breaks_and_tabs_stay():
    assert escaped(HOSTILE) == SEEN
    assert escaped("a\n\tb 한국어 \u200e") == "a\n\tb 한국어 \u200e"
    assert escaped("\udcff") == r"\udcff"


def test_a_message_a_title_and_a_table_are_escaped_and_never_read_as_markup(at_a_terminal):
    name = f"[bold]{HOSTILE}[/bold][link=http://x]:smile:"

    def call() -> None:
        console, table = Terminal(), Table(title=name)
        table.add_column(name)
        table.add_row(name)
        console.print(Text.assemble((name, "bold")))
        console.print(name, style="dim")
        console.print(table)
        warn(name)

    out = at_a_terminal(call)
    assert out.count("[bold]") == 6
    for character in "\x07\r\x9b\u202e\x7f\x00":
        assert character not in out
    assert "\x1b]" not in out
    assert "\x1b[2J" not in out
    assert "\x1b[1m" in out  # its own styles are still there


def test_what_a_model_wrote_is_exact_in_a_pipe_and_escaped_at_a_terminal(at_a_terminal, monkeypatch):
    assert at_a_terminal(lambda: emit_payload(HOSTILE + "\n")) == SEEN + "\n"
    pipe = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        emit_payload(HOSTILE)
    assert pipe.getvalue() == HOSTILE


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_strict_means_the_same_and_holds_no_control_character(capsys, ascii_only):
    emit_json({"text": HOSTILE + "한", "loss": [float("nan"), (1.5, float("-inf"))]}, ascii_only=ascii_only)
    out = capsys.readouterr().out
    assert escaped(out) == out
    assert json.loads(out) == {"text": HOSTILE + "한", "loss": [None, [1.5, None]]}


def test_a_run_s_name_and_a_sample_are_escaped_at_a_terminal(at_a_terminal, place, run, capsys):
    renamed = run.rename(run.with_name(f"[red]{run.name}\x1b[31m\u202e"))
    out = at_a_terminal(lambda: main(["evaluate", str(renamed)]))
    assert rf"[red]{run.name}\x1b[31m\u202e" in out
    assert "\x1b[31m" not in out
    out = at_a_terminal(lambda: main(["evaluate", f"{renamed}\x1b[5m"]))
    assert "\x1b[5m" not in out
    config = renamed / "tokenizer" / "tokenizer.json"
    tree = json.loads(config.read_text())
    assert len(tree["characters"]) == 13
    config.write_text(json.dumps(tree | {"characters": "".join(sorted("\x1b\x07\x9b\u202e\rabcdefgh"))}))
    resealed(place, renamed)
    words = ["sample", str(renamed), "--prompt", "a\x1b", "-n", "40", "--compile", "off", "--temperature", "5"]
    out = at_a_terminal(lambda: main(words)).replace("\x1b[2m", "").replace("\x1b[0m", "")  # a dim line of ours
    assert escaped(out) == out
    assert r"a\x1b" in out
    assert main(words) == 0
    assert "\x1b" in capsys.readouterr().out  # the pipe has it exactly


def test_a_module_of_the_command_line_prints_through_the_terminal_only():
    """No console, no ``print`` and no stream is written elsewhere, and no text is read as markup."""
    found = []
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if path.name == "terminal.py":
                continue
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                found += [f"{path.name}: imports {each.name}" for each in node.names if each.name == "Console"]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "typer.echo", "typer.secho", "input", "Text.from_markup", "Text.from_ansi"):
                    found.append(f"{path.name}: {called}")
                if called.startswith(("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer")):
                    found.append(f"{path.name}: {called}")
    allowed = {  # lines of a translation, which are exact where nobody looks; the prompt, which is ours
        "sentences.py: sys.stdout.buffer.write", "sentences.py: sys.stdout.buffer.flush", "translate.py: input",
    }  # fmt: skip
    assert set(found) == allowed
