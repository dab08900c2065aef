"""Wrong settings of attention's pattern: status 2, one message that says what to do, and nothing left behind."""

from __future__ import annotations

import re
import shlex

import pytest

WINDOW = "--set model.attention.pattern=window"
BLOCKS = "--set model.attention.pattern=bigbird"
SET = "--set model.attention"
OWN = "--set model.part_files=own.py --set model.attention.kind=own"
ROWS = {
    "no such pattern": (f"{SET}.pattern=windows", "pattern is 'windows'; expected 'full', 'window'"),
    "a window without a size": (WINDOW, "window, of all layers, or windows.*neither is given"),
    "two windows at once": (f"{WINDOW} {SET}.window=8 {SET}.windows=8,16", "both are given"),
    "a window of nothing": (f"{WINDOW} {SET}.window=0", "window is 0; expected greater than or equal to 1"),
    "a window below 0": (f"{WINDOW} {SET}.window=-5", "window is -5; expected greater"),
    "a window in words": (f"{WINDOW} {SET}.window=wide", "window is 'wide'; expected a valid integer"),
    "half a window": (f"{WINDOW} {SET}.window=2.5", "window is '2.5'; expected a valid integer"),
    "a window of 10^30": (f"{WINDOW} {SET}.window={10**30}", "window.*is too large"),
    "a window as long as the context": (f"{WINDOW} {SET}.window=64", "hides nothing.*64 tokens.*max_seq_len is 64"),
    "windows longer than the context": (f"{WINDOW} {SET}.windows=100,200", "hides nothing"),
    "windows of nothing": (f"{WINDOW} {SET}.windows=none,none", "no window in any layer; set pattern=full"),
    "windows with an odd one": (f"{WINDOW} {SET}.windows=8,x", "windows.1.* is 'x'; expected a valid integer"),
    "windows with a zero": (f"{WINDOW} {SET}.windows=8,0", "windows.1.* is 0; expected greater"),
    "more windows than layers": (f"{WINDOW} {SET}.windows=8,8,8,8,8", "5 windows, and there are 4 layers"),
    "a window without the pattern": (f"{SET}.window=8", "window is a setting of pattern=window, and pattern is full"),
    "windows of another pattern": (f"{BLOCKS} {SET}.block_size=4 {SET}.windows=8", "windows is a setting of"),
    "blocks without the pattern": (f"{SET}.block_size=8 {SET}.random_blocks=1", "are settings of pattern=bigbird"),
    "blocks of a window": (f"{WINDOW} {SET}.window=8 {SET}.global_blocks=1", "global_blocks is a setting of"),
    "blocks of nothing": (f"{BLOCKS} {SET}.block_size=0", "block_size is 0; expected greater"),
    "blocks in words": (f"{BLOCKS} {SET}.block_size=big", "block_size is 'big'; expected a valid integer"),
    "blocks that hide nothing": (BLOCKS, "hides nothing.*choose a smaller attention.block_size"),
    "an even window of blocks": (f"{BLOCKS} {SET}.block_size=4 {SET}.window_blocks=2", "expected an odd number"),
    "no window of blocks": (f"{BLOCKS} {SET}.block_size=4 {SET}.window_blocks=0", "window_blocks is 0; expected great"),
    "global blocks below 0": (f"{BLOCKS} {SET}.block_size=4 {SET}.global_blocks=-1", "global_blocks is -1; expected"),
    "random blocks below 0": (f"{BLOCKS} {SET}.block_size=4 {SET}.random_blocks=-1", "random_blocks is -1; expected"),
    "a thousand random blocks": (f"{BLOCKS} {SET}.block_size=4 {SET}.random_blocks=1000", "less than or equal to 64"),
    "a near miss": (f"{WINDOW} {SET}.windw=8", "attention.windw' is not a setting. Did you mean 'window'"),
    "an attention of one's own that takes none": (f"{WINDOW} {SET}.window=8 {OWN}", "does not take its options"),
    "an odd one and mistakes elsewhere": (
        f"{SET}.block_size=4 {SET}.windows=8,x",
        "windows.1.* is 'x'.*block_size is a",
    ),
    "several mistakes at once": (
        f"{SET}.window=8 {SET}.block_size=4 {SET}.window_blocks=2",
        "3 reasons.*window is a setting of.*odd number",
    ),
}
OWN_FILE = """
from torch import nn
from glassformer.registry import register

@register("attention", "own")
class Own(nn.Module):
    def __init__(self, d_model, n_heads, *, n_kv_heads=None, d_head=None, projection="fused", scale=True,
                 qk_norm="none", bias=True, output_bias=True, dropout=0.0):
        super().__init__()
"""


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("command", ["info nanogpt-shakespeare-cpu", "train nanogpt-shakespeare-cpu --data words.txt"])
def test_a_wrong_pattern_ends_with_one_clear_message_and_leaves_nothing(say, place, command, name):
    settings, message = ROWS[name]
    (place / "own.py").write_text(OWN_FILE)
    before = sorted(place.rglob("*"))
    said = say(*shlex.split(f"{command} {settings}"))
    assert said.status == 2, said.err
    assert not said.out
    assert said.err.count("error: ") == 1
    assert re.search(message, re.sub(r"[\s│]+", " ", said.err)), said.err
    assert "Traceback" not in said.err
    assert sorted(place.rglob("*")) == before
