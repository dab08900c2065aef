from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from glassformer.errors import RunError
from glassformer.runs.folder import Run, list_runs

CONFIG = {"model": {"d_model": 64, "name": "한국어"}, "seed": 3}


def create(root, name="small-gpt", config=CONFIG):
    return Run.create(root, name, config, command=["glassformer", "train", name])


def test_a_new_run_has_everything_and_opens_again(tmp_path):
    run = create(tmp_path / "runs")
    assert re.fullmatch(r"small-gpt-\d{8}-\d{6}", run.name)
    assert sorted(path.name for path in run.path.iterdir()) == [
        *("checkpoints", "config.json", "environment.json", "metrics.jsonl", "samples", "tokenizer")
    ]
    assert run.config == json.loads((run.path / "config.json").read_text(encoding="utf-8")) == CONFIG
    again = Run.open(run.path)
    assert again == run
    assert again.environment()["command"] == ["glassformer", "train", "small-gpt"]
    with again.metrics_writer() as writer:
        writer.append({"step": 1, "loss": 2.0})
        writer.resumed(1)
    assert run.metrics() == [{"step": 1, "loss": 2.0}]
    assert run.events() == [{"event": "resumed", "step": 1}]


def test_runs_started_in_the_same_second_get_folders_of_their_own_that_sort(tmp_path):
    made = [create(tmp_path).path for _ in range(12)]
    assert len(set(made)) == 12
    assert list_runs(tmp_path) == made
    assert sorted(made) == made


CREATOR = """
import sys
from pathlib import Path
from glassformer.runs.folder import Run
for _ in range(5):
    print(Run.create(Path(sys.argv[1]), "same", {"by": sys.argv[2]}, command=[]).name)
"""


def test_two_processes_never_get_the_same_folder(tmp_path):
    creators = [
        subprocess.Popen([sys.executable, "-c", CREATOR, tmp_path, str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    made = [creator.communicate()[0].split() for creator in creators]
    assert [len(names) for names in made] == [5, 5]
    assert len({name for names in made for name in names}) == 10
    for number, names in enumerate(made):
        assert all(Run.open(name, root=tmp_path).config == {"by": str(number)} for name in names)


def test_a_run_is_found_by_path_name_unique_beginning_and_latest(tmp_path, monkeypatch):
    first, second = create(tmp_path, "alpha"), create(tmp_path, "beta")
    for text in (first.path, str(first.path), first.name, "al"):
        assert Run.open(text, root=tmp_path) == first
    assert Run.open("latest", root=tmp_path) == second
    monkeypatch.setenv("GLASSFORMER_RUNS", str(tmp_path))
    assert Run.open("latest") == second


def test_latest_is_the_one_that_started_last_whatever_its_name(tmp_path):
    create(tmp_path, "zebra")
    latest = create(tmp_path, "ant")
    assert Run.open("latest", root=tmp_path) == latest
    (latest.path / "environment.json").write_text("{")  # falls back to the age of config.json
    assert Run.open("latest", root=tmp_path) == latest


def refusal(text, root):
    with pytest.raises(RunError) as raised:
        Run.open(text, root=root)
    return str(raised.value)


def test_a_run_that_is_not_there_is_refused_with_near_misses(tmp_path):
    assert "no run in" in refusal("latest", tmp_path / "nowhere")
    assert "Runs in" in refusal("anything", tmp_path)
    run = create(tmp_path, "shakespeare")
    assert f"Did you mean {run.name}?" in refusal(run.name.replace("kes", "ks"), tmp_path)
    assert "begins the name of 2 runs: " in (create(tmp_path, "shake"), refusal("shake", tmp_path))[1]


@pytest.mark.parametrize("text", ["", "\0", "x" * 5000, "~no-such-user/run", "no/such/path"])
def test_an_impossible_name_is_refused(tmp_path, text):
    create(tmp_path, "one")
    assert refusal(text, tmp_path)


def test_a_folder_or_file_that_is_not_a_run_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").touch()
    assert "is a folder, but not of a run: it has no config.json" in refusal("photos", tmp_path)
    assert "is a folder, but not of a run" in refusal(tmp_path / "photos", tmp_path)
    assert "is a file, and a run is a folder" in refusal("notes.txt", tmp_path)
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1', "line 1 column"), (b"\xff\xfe", "can't decode"), (b"[1]", "holds a list"), (b"", "not JSON")],
)
def test_a_damaged_config_is_refused_saying_where(tmp_path, content, message):
    run = create(tmp_path)
    (run.path / "config.json").write_bytes(content)
    assert message in refusal(run.name, tmp_path)
    assert "config.json is damaged" in refusal(run.path, tmp_path)


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "..", ".hidden", "-dash", "a\nb", "a:b", "back\\slash", "x" * 101, "\0"]
)
def test_a_name_that_cannot_name_a_folder_is_refused(tmp_path, name):
    with pytest.raises(RunError, match="cannot name a run"):
        create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gpt2", "my run", "실험-1", "lr=0.1", "a.b_c+d", "x" * 100])
def test_an_ordinary_name_is_kept(tmp_path, name):
    run = create(tmp_path, name)
    assert run.name.startswith(f"{name}-")
    assert Run.open(run.name, root=tmp_path) == run


def test_a_place_where_no_run_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be made in .*file: "):
        create(tmp_path / "file")
    with pytest.raises(RunError, match="cannot be listed"):
        list_runs(tmp_path / "file")


TRAINER = """
import sys
from pathlib import Path
from glassformer.errors import RunError
from glassformer.runs.folder import Run
try:
    with Run.open(sys.argv[1]).lock():
        print("training", flush=True)
        sys.stdin.readline()
except RunError as error:
    print(error)
"""


def trainer(run):
    command = [sys.executable, "-c", TRAINER, str(run.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_never_train_the_same_run_and_a_killed_one_leaves_no_lock(tmp_path):
    run = create(tmp_path)
    with trainer(run) as first:
        assert first.stdout.readline() == "training\n"
        with trainer(run) as second:
            message = second.communicate()[0]
        assert f"{run.name} is being trained already, by process {first.pid}" in message
        assert Run.open(run.path).config == CONFIG, "a reader needs no lock"
        assert run.metrics() == []
        first.kill()
        first.wait()
    with run.lock(), pytest.raises(RunError, match="is being trained already"), run.lock():
        raise AssertionError("two locks at once")
    with run.lock():  # given back, it can be had again
        pass
