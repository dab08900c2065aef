"""A folder's text: nothing is left out in silence, links come to an end, and its identity is its content."""

from __future__ import annotations

import os
import shutil

import pytest

from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import prepare
from glassformer.data.sources import open_source
from glassformer.errors import DataError


def lines_of(path) -> list[str]:
    return sorted("".join(open_source(str(path)).texts()).splitlines())


def skipped(path) -> list[str]:
    source = open_source(str(path))
    for _ in source.texts():
        pass
    return source.skipped


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "corpus"
    (path / "sub").mkdir(parents=True)
    (path / "a.txt").write_text("first\n")
    (path / "sub" / "b.txt").write_text("second\n")
    return path


@pytest.fixture
def elsewhere(tmp_path):
    path = tmp_path / "elsewhere"
    path.mkdir()
    (path / "c.txt").write_text("third\n")
    return path


def test_a_linked_folder_is_read(folder, elsewhere):
    (folder / "linked").symlink_to(elsewhere)
    assert lines_of(folder) == ["first", "second", "third"]
    assert skipped(folder) == []


def test_a_folder_that_is_a_link_itself_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert lines_of(tmp_path / "link") == ["first", "second"]
    assert open_source(str(tmp_path / "link")).fingerprint() == open_source(str(folder)).fingerprint()


def test_links_in_a_circle_come_to_an_end(folder, elsewhere):
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "itself").symlink_to("itself")
    assert lines_of(folder) == ["first", "second", "third"]
    reported = skipped(folder)
    assert len(reported) == 3
    assert sum("is a link to what is read already" in entry for entry in reported) == 2
    assert sum("itself is a link that leads nowhere" in entry for entry in reported) == 1


def test_what_two_links_lead_to_is_read_once_and_said(folder, elsewhere):
    (folder / "one").symlink_to(elsewhere)
    (folder / "two").symlink_to(elsewhere)
    (folder / "copy.txt").symlink_to(folder / "a.txt")
    (folder / "other.txt").symlink_to(elsewhere / "c.txt")
    assert lines_of(folder) == ["first", "second", "third"]
    assert [entry.split()[0] for entry in skipped(folder)] == ["copy.txt", "other.txt", "two"]


def test_what_cannot_be_read_is_named_with_its_reason(folder):
    os.mkfifo(folder / "pipe")
    (folder / "gone.txt").symlink_to(folder / "nothing")
    (folder / ".hidden").write_text("hidden\n")
    (folder / "binary").write_bytes(b"\0\1")
    assert lines_of(folder) == ["first", "second"]
    reported = " | ".join(skipped(folder))
    for part in ("pipe is not a regular file", "gone.txt is a link that leads nowhere", "1 hidden", "binary is binary"):
        assert part in reported


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_and_a_folder_without_permission_are_named(folder):
    (folder / "closed.txt").write_text("closed\n")
    (folder / "closed.txt").chmod(0)
    (folder / "sub").chmod(0)
    reported = " | ".join(skipped(folder))
    (folder / "sub").chmod(0o755)
    assert "closed.txt cannot be read" in reported
    assert "sub is a folder that cannot be read" in reported


def test_a_name_that_is_not_utf8_can_be_written_down(folder, tmp_path):
    (folder / os.fsdecode(b"caf\xe9.bin")).write_bytes(b"\0")
    (folder / "long.txt").write_text("some words of text\n" * 20)
    data = prepare(DataConfig(source=str(folder)), cache=tmp_path / "cache")
    assert any("caf\\xe9.bin is binary" in note for note in data.notes)


def test_of_many_skipped_files_some_are_named_and_all_are_counted(folder, tmp_path):
    for number in range(25):
        (folder / f"image{number}.png").write_bytes(b"\0")
    (folder / "long.txt").write_text("some words of text\n" * 20)
    notes = prepare(DataConfig(source=str(folder)), cache=tmp_path / "cache").notes
    assert sum(note.startswith("skipped: image") for note in notes) == 10
    assert "skipped: 15 more, 25 entries altogether" in notes


@pytest.mark.parametrize("change", ["touch", "moved", "copied", "hidden file", "other order of making"])
def test_the_same_files_are_the_same_data(folder, tmp_path, change):
    before = open_source(str(folder)).fingerprint()
    other = tmp_path / "another name"
    if change == "touch":
        os.utime(folder / "a.txt", ns=(1, 1))
        other = folder
    elif change == "moved":
        folder.rename(other)
    elif change == "copied":
        shutil.copytree(folder, other)
    elif change == "hidden file":
        (folder / ".DS_Store").write_text("x")
        other = folder
    else:
        (other / "sub").mkdir(parents=True)
        (other / "sub" / "b.txt").write_text("second\n")
        (other / "a.txt").write_text("first\n")
    assert open_source(str(other)).fingerprint() == before


@pytest.mark.parametrize("change", ["same size", "renamed", "added", "removed", "swapped"])
def test_other_files_are_other_data(folder, change):
    before = open_source(str(folder)).fingerprint()
    status = (folder / "a.txt").stat()
    if change == "same size":
        (folder / "a.txt").write_text("fIrst\n")
        os.utime(folder / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "renamed":
        (folder / "a.txt").rename(folder / "z.txt")
    elif change == "added":
        (folder / "n.txt").write_text("")
    elif change == "removed":
        (folder / "a.txt").unlink()
    else:
        (folder / "a.txt").write_text("second\n")
        (folder / "sub" / "b.txt").write_text("first\n")
    assert open_source(str(folder)).fingerprint() != before


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a regular file"):
        open_source(str(tmp_path / "pipe"))
