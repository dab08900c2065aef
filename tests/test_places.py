from __future__ import annotations

import sys
from pathlib import Path

import pytest

from glassformer.places import cache_folder, provided_data_folder, runs_folder, studies_folder


def test_each_variable_moves_its_folder(monkeypatch, tmp_path):
    for variable in ("GLASSFORMER_CACHE", "GLASSFORMER_RUNS", "GLASSFORMER_STUDIES", "GLASSFORMER_DATA"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    assert cache_folder() == tmp_path / "GLASSFORMER_CACHE"
    assert runs_folder() == tmp_path / "GLASSFORMER_RUNS"
    assert studies_folder() == tmp_path / "GLASSFORMER_STUDIES"
    assert provided_data_folder() == tmp_path / "GLASSFORMER_DATA"


def test_an_empty_variable_counts_as_unset(monkeypatch):
    for variable in ("GLASSFORMER_CACHE", "GLASSFORMER_RUNS", "GLASSFORMER_STUDIES", "GLASSFORMER_DATA"):
        monkeypatch.setenv(variable, "")
    assert cache_folder().name == "glassformer"
    assert runs_folder() == Path("runs")
    assert studies_folder() == Path("studies")
    assert provided_data_folder() is None


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("GLASSFORMER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "glassformer"


@pytest.mark.skipif(sys.platform != "linux", reason="the place is the platform's own")
def test_without_variables_the_cache_is_the_users(monkeypatch, tmp_path):
    for variable in ("GLASSFORMER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "glassformer"


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("GLASSFORMER_RUNS", "~/my-runs")
    assert runs_folder() == tmp_path / "my-runs"
