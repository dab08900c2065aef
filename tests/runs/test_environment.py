from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime

import torch

import glassformer
from glassformer.runs.environment import describe_checkout, describe_environment


def test_the_circumstances_are_complete_and_plain_json(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_CBWR", raising=False)
    found = describe_environment(["glassformer", "train", "gpt2"])
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert found["command"] == ["glassformer", "train", "gpt2"]
    assert found["glassformer"] == glassformer.__version__
    assert found["machine"]["torch"] == torch.__version__
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["machine"]["cpu"]
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert "MKL_CBWR" not in found["variables"]
    started = datetime.fromisoformat(found["started"])
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60


def test_the_hosts_name_is_left_out(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "very-secret-host")
    assert "very-secret-host" not in json.dumps(describe_environment([]))
    assert not {"HOSTNAME", "USER", "HOME"} & describe_environment([])["variables"].keys()


def test_the_commit_and_whether_the_code_was_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_checkout(tmp_path) is None

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    assert describe_checkout(tmp_path) is None, "a repository without a commit"
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").touch()
    assert describe_checkout(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "code.py").write_text("2")
    assert describe_checkout(tmp_path) == {"commit": commit, "changed": True}
