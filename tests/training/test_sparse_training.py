"""A run whose attention has a sparse pattern trains through gathered blocks, and says so."""

from __future__ import annotations

import pytest

from glassformer.parts.gathered import Gathered

WINDOW = {"model.attention.pattern": "window", "model.attention.window": 2}


@pytest.mark.parametrize(
    "changes", [{}, {"model.attention.dropout": 0.1}, {"training.precision": "bf16"}], ids=["plain", "dropout", "bf16"]
)
def test_blocks_are_gathered_where_full_attention_would_be_written_out(runs, configure, monkeypatch, changes):
    seen, attend = [], Gathered.attend
    monkeypatch.setattr(Gathered, "attend", lambda self, *a, **k: seen.append(self.n_tokens) or attend(self, *a, **k))
    trainer = runs.train(configure(WINDOW | changes | {"training.compile": "auto"}))
    assert trainer.execution.attention_path == "fused"
    assert any("gathers the blocks" in reason for reason in trainer.execution.reasons)
    assert not trainer.execution.compile
    assert set(seen) == {12}


def test_a_pattern_that_saves_little_changes_no_path(runs, configure):
    wide = {"model.attention.pattern": "window", "model.attention.window": 10}
    found, full = (runs.start(configure(changes), name=name).execution for name, changes in (("a", wide), ("b", {})))
    assert found.attention_path == full.attention_path
    assert found.compile == full.compile
