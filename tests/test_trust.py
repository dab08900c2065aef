"""A part file is executed only if its content was named by the user, used here before, or vouched for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from glassformer import trust
from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.registry import load_part_file, open_part_file, part_file_content

SIZES = {"vocab_size": 11, "max_seq_len": 8, "d_model": 16, "n_layers": 1, "attention": {"n_heads": 4}}


@pytest.fixture
def tracked(tmp_path):
    """``tracked(name)`` writes a part file that leaves a mark when it runs; each has a content of its own."""

    def write(name="own.py"):
        file, mark = tmp_path / name, tmp_path / f"{name}.ran"
        file.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
        return file, mark

    return write


def test_a_file_that_a_configuration_names_is_not_executed_unless_it_is_trusted(tracked):
    file, mark = tracked()
    for build in (lambda: ModelConfig.build(SIZES | {"part_files": [str(file)]}), lambda: open_part_file(file)):
        with pytest.raises(ConfigError, match="was not executed") as caught:
            build()
        assert trust.sha256_of(file) in str(caught.value)
        assert "--trust-parts" in str(caught.value)
        assert "own.py" in str(caught.value)
    assert not mark.exists()
    with trust.trusting_parts():
        ModelConfig.build(SIZES | {"part_files": [str(file)]})
    assert mark.exists()


def test_trust_ends_with_its_block_and_covers_what_has_run_in_it(tracked):
    one, other = tracked("one.py"), tracked("other.py")
    with trust.trusting_parts():
        open_part_file(one[0])
    open_part_file(one[0])  # it runs no second time
    with pytest.raises(ConfigError, match="was not executed"):
        open_part_file(other[0])
    with trust.trusting_parts(False), pytest.raises(ConfigError, match="was not executed"):
        open_part_file(other[0])
    assert not other[1].exists()


@pytest.mark.parametrize("change", [b"\n", b"# a comment\n", b"import os\n"])
def test_trust_is_in_the_content_and_not_in_the_path(tracked, change):
    file, mark = tracked()
    load_part_file(file)
    mark.unlink()
    file.write_bytes(file.read_bytes() + change)
    with pytest.raises(ConfigError, match="was not executed"):
        open_part_file(file)
    assert not mark.exists()
    with pytest.raises(ConfigError, match="has changed since it was executed"):
        part_file_content(file)


def test_what_was_loaded_once_opens_in_later_processes_and_under_other_names(tracked, tmp_path):
    file, mark = tracked()
    load_part_file(file)
    mark.unlink()
    copy = tmp_path / "copy.py"
    copy.write_bytes(file.read_bytes())
    command = f"from glassformer.registry import open_part_file; open_part_file({str(copy)!r})"
    subprocess.run([sys.executable, "-c", command], check=True)
    assert mark.exists()


def test_what_was_only_vouched_for_is_not_remembered_but_reaches_worker_processes(tracked, monkeypatch):
    file, _ = tracked()
    digest = trust.sha256_of(file)
    with trust.trusting_parts():
        open_part_file(file)
    assert not (trust._memory() / digest).exists()
    workers = trust.for_workers()
    monkeypatch.setattr(trust, "_in_this_process", set())
    assert not trust.is_trusted(digest)
    monkeypatch.setenv(*next(iter(workers.items())))
    assert trust.is_trusted(digest)
    assert digest in trust.for_workers()[trust.VARIABLE]


@pytest.mark.parametrize("name", ["", "../trusted-parts", "..", "a" * 64 + "/..", "A" * 64, "/etc/passwd"])
def test_what_is_no_hash_is_never_trusted(name):
    assert not trust.is_trusted(name)


@pytest.mark.parametrize(
    "argument",
    [
        "model.part_files={a}",
        "part_files={a}",
        "model.part_files=[{a},{b}]",
        "model.part_files={b}|{a}",
        "model.norm.kind=own,model.part_files={a}",
        "model.part_files={a},model.norm.kind=own",
        "model.part_files=no-such-file.py,{a}",
    ],
)
def test_the_files_that_a_command_line_names_are_trusted(tracked, argument):
    (a, _), (b, _) = tracked("a.py"), tracked("b.py")
    trust.vouch_for_named(["train", "gpt-nano", "--set", argument.format(a=a, b=b)])
    assert trust.is_trusted(trust.sha256_of(a))
    assert trust.is_trusted(trust.sha256_of(b)) == ("{b}" in argument)


@pytest.mark.parametrize(
    "argument", ["{a}", "model.parts={a}", "part_files", "--data={a}", "part_files=" + "x" * 5000, "part_files=\0"]
)
def test_nothing_else_on_a_command_line_is_trusted(tracked, argument):
    a, _ = tracked("a.py")
    trust.vouch_for_named([argument.format(a=a)])
    assert not trust.is_trusted(trust.sha256_of(a))


def test_a_state_folder_that_cannot_be_written_loses_the_memory_alone(tracked, tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("GLASSFORMER_STATE", str(tmp_path / "state"))
    file, mark = tracked()
    load_part_file(file)
    assert mark.exists()
    assert trust.is_trusted(trust.sha256_of(file))
