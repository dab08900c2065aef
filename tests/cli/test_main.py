"""What happens when a command goes wrong: one message, an exit status, and never a traceback."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass

import pytest

from glassformer.cli import crash
from glassformer.cli import main as module
from glassformer.cli.lazy import Command
from glassformer.cli.main import main

COMMAND = f"{sys.executable} -m glassformer"


@dataclass(frozen=True)
class Ended:
    """How a real process ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def shell(place):
    """``shell(*lines)``: lines of bash run at the same time, ``glassformer`` in them being the real program."""

    def shell(*lines: str, **environment: str) -> list[Ended]:
        variables = os.environ | {"GLASSFORMER_REPORTS": str(place / "reports")} | environment
        variables.pop("PYTHONUNBUFFERED", None)
        running = [
            subprocess.Popen(
                ["bash", "-c", f'glassformer() {{ {COMMAND} "$@"; }}; set -o pipefail; {line}'],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables,
            )
            for line in lines
        ]  # fmt: skip
        return [
            Ended(each.returncode, out.decode(), err.decode())
            for each in running
            for out, err in [each.communicate(timeout=120)]
        ]

    return shell


def failing(error: BaseException):
    """A command that raises."""

    def command() -> None:
        raise error

    return command


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """``broken(error)``: a command line whose command raises the error inside."""
    monkeypatch.setenv("GLASSFORMER_REPORTS", str(tmp_path / "reports"))

    def broken(error: BaseException) -> list[str]:
        monkeypatch.setattr(f"{__name__}.raising", failing(error), raising=False)
        monkeypatch.setitem(sys.modules, "raising_command", sys.modules[__name__])
        monkeypatch.setitem(module.COMMANDS, "broken", Command("raising_command:raising", "Raises."))
        return ["broken"]

    return broken


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("\x1b[31mfault"), AssertionError(), RecursionError("deep"), KeyError("x" * 5_000), EOFError()],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_of_ours_is_one_message_and_a_report(broken, tmp_path, capsys, error):
    assert main(broken(error)) == crash.STATUS == 70
    out, err = capsys.readouterr()
    (report,) = (tmp_path / "reports").iterdir()
    assert out == ""
    assert err.count("error: ") == 1
    assert len(err) < 1_000
    assert "Traceback" not in err
    assert "\x1b" not in err
    for promise in ("bug in glassformer", str(report), type(error).__name__, "intact", "resume"):
        assert promise in err
    written = report.read_text()
    for line in ("command: glassformer broken", "torch: ", "Python: 3.", "Traceback", "raise error"):
        assert line in written


def test_a_report_that_cannot_be_written_goes_to_the_temporary_folder_and_else_it_says_how_to_see_it(
    broken, monkeypatch, tmp_path, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLASSFORMER_REPORTS", str(tmp_path / "file" / "reports"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    assert main(broken(ZeroDivisionError())) == 70
    (report,) = (tmp_path / "temporary").iterdir()
    assert str(report) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    assert main(broken(ZeroDivisionError())) == 70
    assert "GLASSFORMER_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("GLASSFORMER_DEBUG", "1")
    assert main(broken(ZeroDivisionError())) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENAMETOOLONG, errno.EMFILE])
def test_what_the_system_refuses_is_the_users_to_fix(broken, tmp_path, capsys, number):
    assert main(broken(OSError(number, os.strerror(number), "a/b"))) == 2
    err = capsys.readouterr().err
    assert err.count("error: ") == 1
    assert f"'a/b': {os.strerror(number)}" in err
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("memory", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")])
def test_a_lack_of_memory_is_said(broken, capsys, memory):
    assert main(broken(memory)) == 2
    assert "memory" in capsys.readouterr().err


def test_ctrl_c_is_130_and_sys_exit_in_imported_code_is_a_message(broken, capsys):
    assert main(broken(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")
    assert main(broken(SystemExit("gone"))) == 2
    assert "sys.exit('gone')" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_one_message_and_no_zero(shell):
    for ended in shell("glassformer scale laws > /dev/full", "glassformer --help > /dev/full"):
        assert ended.status == 2
        assert re.fullmatch(r"error: Standard output cannot be written: No space left on device\..*\n", ended.err)
    for ended in shell("glassformer scale laws x 2> /dev/full", "glassformer scale laws > /dev/full 2> /dev/full"):
        assert (ended.status, ended.err) == (2, "")


def test_a_stream_that_is_closed_is_as_if_it_were_dev_null(shell):
    first, *others = shell(
        "glassformer scale laws 2>&-",
        "glassformer scale laws >&-",
        "glassformer scale laws >&- 2>&- <&-",
        "glassformer scale laws x >&- 2>&-",
        "glassformer scale laws x <&- 2>/dev/null",
    )
    assert (first.status, first.err) == (0, "")
    assert "chinchilla" in first.out
    assert [(each.status, each.out, each.err) for each in others] == [(0, "", "")] * 2 + [(2, "", "")] * 2


def test_a_reader_that_leaves_early_ends_the_command_in_silence(shell):
    *fine, refused = shell(
        "glassformer scale laws | head -c 10",
        "glassformer --help | true",
        "glassformer scale laws 2>&1 | true",
        "glassformer scale laws x 2>&1 | true",
    )
    assert [(each.status, each.err) for each in fine] == [(0, "")] * 3
    assert (refused.status, refused.err) == (2, "")


def test_a_character_that_the_streams_encoding_lacks_is_an_escape(shell):
    words = "glassformer scale laws $'\\xff\\xe2\\x82\\xac\\x1b[31m'"
    for encoding in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        message, table = shell(words, "glassformer scale laws chinchilla", **encoding)
        assert message.status == 2
        assert r"\x1b[31m" in message.err
        assert message.err.count("error: ") == 1
        assert (table.status, table.err) == (0, "")
        assert table.out.isascii()
        assert r"\u03b1" in table.out  # the exponent α


def limit_files() -> None:
    """No file may become larger than this: to a program, the same as a full disk, but for the number of the error."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))


def test_a_disk_that_fills_up_while_a_runs_folder_is_made_is_one_message_and_leaves_nothing(place, small):
    words = ["train", "nanogpt-shakespeare-cpu", "--data", "words.txt", "--steps", "1", *small]
    assert main(words) == 0  # the data are prepared
    before = sorted(place.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "glassformer", *words],
        capture_output=True, text=True, preexec_fn=limit_files, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "File too large" in done.stderr
    assert sorted(place.rglob("*")) == before


# ------------------------------------------------------------------------------------------------------- the help page


@pytest.mark.parametrize("name", module.COMMANDS)
def test_every_row_of_the_table_is_the_first_line_of_its_command_s_own_help(name):
    assert module.load(name).help.splitlines()[0] == module.COMMANDS[name].summary
