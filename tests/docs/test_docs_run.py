"""README.md, CONTRIBUTING.md and every page under docs/ do what they say: their code blocks are run, in order.

A page is run from top to bottom in an empty folder of its own, by these rules:

| block | what happens |
|---|---|
| ```` ```python ```` | executed; one namespace per page |
| ```` ```pycon ```` | a doctest in the same namespace, so what it prints is compared (``...`` stands for anything) |
| ```` ```bash ```` | run by ``bash -euo pipefail`` |
| ```` ```console ```` | the lines after ``$ `` are run the same way; the rest shows what a reader will roughly see |
| any other | left alone |

A comment on the line above a block changes that: ``<!-- not run: why -->`` leaves it out, and
``<!-- run with: --set training.steps=20 -->`` adds arguments that make its one command quick.
"""

from __future__ import annotations

import doctest
import os
import re
import runpy
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import glassformer

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "command_server.py"
write_client = runpy.run_path(str(SERVER))["write_client"]
PAGES = [
    page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))) if page.exists()
]
QUICK = {"README.md", "CONTRIBUTING.md", "docs/your-own-part.md", "docs/safety.md", "docs/command-line.md"}
RUNNABLE = ("python", "pycon", "bash", "console")
SECONDS = 300  # for one shell block

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w-]*)[^\n`]*$")
COMMENT = re.compile(r"^ *<!-- (?P<what>not run|run with):(?P<rest>.*?)-->\s*$")


class PageError(Exception):
    """A block that failed, or a page that breaks the rules above; the message begins with page:line."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. ``line`` is that of its first line of code, counted from 1."""

    page: Path
    line: int
    language: str
    code: str
    skipped: bool = False
    arguments: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The runnable blocks of a page, in order."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        start = end = number + 1
        while end < len(lines) and lines[end].strip() != opening["fence"]:
            end += 1
        if end == len(lines):
            raise PageError(f"{page.name}:{start}: this block is never closed.")
        if opening["language"] in RUNNABLE:
            indent = len(opening["indent"])
            code = "".join(line[indent:] + "\n" for line in lines[start:end])
            block = Block(page, start + 1, opening["language"], code)
            found.append(_as_commented(block, lines[number - 1] if number else ""))
        number = end + 1
    return found


def _as_commented(block: Block, line_above: str) -> Block:
    comment = COMMENT.match(line_above)
    if comment is None:
        return block
    rest = comment["rest"].strip()
    if not rest:
        raise PageError(f"{block.place}: '{comment['what']}:' says nothing after the colon.")
    skipped = comment["what"] == "not run"
    return Block(block.page, block.line, block.language, block.code, skipped, "" if skipped else rest)


def run_page(page: Path, folder: Path, programs: Path | None = None) -> int:
    """Run a page's blocks in ``folder`` (the working directory already); return how many ran.

    The shell looks for its commands in ``programs`` first, then in this environment.
    """
    namespace = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page):
        if block.skipped:
            continue
        if block.arguments and block.language not in ("bash", "console"):
            raise PageError(f"{block.place}: 'run with:' adds arguments to a command, and this is {block.language}.")
        if block.language == "python":
            _run_python(block, namespace)
        elif block.language == "pycon":
            _run_doctest(block, namespace)
        else:
            _run_shell(block, folder, programs)
        ran += 1
    return ran


def _run_python(block: Block, namespace: dict[str, object]) -> None:
    # newlines before the code, so that a traceback names the page's own lines
    code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")
    try:
        exec(code, namespace)
    except Exception as error:
        raise PageError(f"{block.place}: {type(error).__name__}: {error}") from error


def _run_doctest(block: Block, namespace: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, namespace, block.place, str(block.page), block.line - 1)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    if runner.run(test, out=said.append, clear_globs=False).failed:
        raise PageError(f"{block.place}: " + "".join(said))
    namespace.update(test.globs)


def _run_shell(block: Block, folder: Path, programs: Path | None) -> None:
    script = block.code
    if block.language == "console":
        script = "".join(line[2:] + "\n" for line in script.splitlines() if line.startswith("$ "))
        if not script:
            raise PageError(
                f"{block.place}: no line of this console block begins with '$ ', so there is nothing to run."
            )
    if block.arguments:
        commands = [line for line in script.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]
        if len(commands) != 1:
            raise PageError(f"{block.place}: 'run with:' needs a block of one command; this one has {len(commands)}.")
        script = f"{commands[0].split(' #')[0]} {block.arguments}\n"
    places = [str(programs)] if programs else []
    path = os.pathsep.join([*places, str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise PageError(f"{block.place}: exit status {done.returncode}\n{script}\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="module")
def programs():
    """A folder with a ``glassformer`` that does not import torch anew for every command."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's address must be short
        address = os.path.join(folder, "socket")  # noqa: PTH118
        server = subprocess.Popen(
            [sys.executable, str(SERVER), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert server.stdout.readline() == "ready\n"
        write_client(Path(folder) / "glassformer", address)
        yield Path(folder)
        server.stdin.close()
        server.stdout.close()
        server.wait()


def as_case(page: Path):
    """The page as a case of its own; the first pages of a reader are in every run of the tests."""
    name = page.relative_to(ROOT).as_posix()
    slow = pytest.mark.slow(reason="the page trains or fits for seconds; `make test-docs` runs it")
    return pytest.param(page, id=name, marks=[] if name in QUICK else [slow])


@pytest.mark.parametrize("page", [as_case(page) for page in PAGES])
def test_the_page_runs_as_it_stands(page, programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLASSFORMER_RUNS", raising=False)
    run_page(page, tmp_path, programs)


# --- the harness itself, on pages made here ---------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A function that writes a page and runs it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(text):
        file = tmp_path / "page.md"
        file.write_text(text, encoding="utf-8")
        return run_page(file, folder)

    return run


def test_python_blocks_share_a_namespace_and_a_folder_with_the_shell(page, tmp_path):
    assert (
        page("""
# A page
```python
x = 3
```
```bash
echo hello > greeting
```
Between them, words.
```python
assert x == 3
from pathlib import Path
assert Path("greeting").read_text() == "hello\\n"
```
""")
        == 3
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# one\n\n```python\nx = 1\nraise ValueError('seven')\n```\n", r"^page\.md:4: ValueError: seven"),
        ("```bash\necho fine\nfalse\n```\n", r"^page\.md:2: exit status 1"),
        ("```bash\nfalse | true\n```\n", r"exit status 1"),
        ("```console\n$ cat absent\nno matter\n```\n", r"absent"),
        ("```console\nonly output\n```\n", r"nothing to run"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", r"Expected:\s+3\s+Got:\s+2"),
        ("```python\nx = 1\n", r"page\.md:1: this block is never closed"),
        ("<!-- not run: -->\n```bash\nfalse\n```\n", r"says nothing after the colon"),
        ("<!-- run with: --quick -->\n```bash\ntrue\ntrue\n```\n", r"one command; this one has 2"),
        ("<!-- run with: --quick -->\n```python\nx = 1\n```\n", r"this is python"),
    ],
)
def test_a_block_that_fails_or_breaks_the_rules_is_told_by_page_and_line(page, text, complaint):
    with pytest.raises(PageError, match=complaint):
        page(text)


def test_a_traceback_names_the_pages_own_line(page):
    with pytest.raises(PageError) as caught:
        page("```python\nx = 1\nraise ValueError('here')\n```\n")
    assert caught.value.__cause__.__traceback__.tb_next.tb_lineno == 3


def test_a_block_with_a_reason_is_left_out_and_other_languages_are_left_alone(page):
    assert page("<!-- not run: it needs a GPU -->\n```bash\nfalse\n```\n```json\n{\n```\n```\nplain\n```\n") == 0


def test_arguments_are_added_to_the_one_command(page, tmp_path):
    assert page("<!-- run with: --quick -->\n```bash\necho one \\\n  two  # a remark\n```\n") == 1
    page("<!-- run with: three > said -->\n```console\n$ echo one two\none two\n```\n")
    assert (tmp_path / "folder" / "said").read_text() == "one two three\n"


def test_doctests_see_the_namespace_and_add_to_it(page):
    assert page("```python\nx = 2\n```\n```pycon\n>>> y = x * 2\n>>> y\n4\n```\n```python\nassert y == 4\n```\n") == 3


def test_blocks_inside_lists_and_longer_fences_are_read(page):
    assert (
        page("1. item\n\n   ```python\n   x = 1\n   ```\n\n````markdown\n```python\nraise ValueError\n```\n````\n") == 1
    )


def test_this_environments_glassformer_is_the_one_that_runs(page, tmp_path):
    page("```bash\npython -c 'import sys; print(sys.prefix)' > prefix\nglassformer --version > version\n```\n")
    assert (tmp_path / "folder" / "prefix").read_text().strip() == sys.prefix
    assert (tmp_path / "folder" / "version").read_text() == f"glassformer {glassformer.__version__}\n"


def test_the_pages_glassformer_has_the_shells_streams_folder_environment_and_exit_status(programs, tmp_path):
    def run(words, **changes):
        return subprocess.run(
            f"{programs / 'glassformer'} {words}",
            shell=True,
            cwd=tmp_path,
            env=os.environ | changes,
            capture_output=True,
            text=True,
            check=False,
        )

    said = run("presets --json | head -c 1")
    assert (said.returncode, said.stdout) == (0, "[")
    said = run("info nobody", COLUMNS="200")
    assert (said.returncode, said.stdout) == (2, "")
    assert "'nobody'" in said.stderr
    (tmp_path / "here.json").write_text("{")
    assert "here.json" in run("info here.json").stderr
