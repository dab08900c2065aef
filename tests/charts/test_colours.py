"""The colours as people see them who lack one kind of cone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from glassformer.charts.colours import lookup, to_lab
from glassformer.charts.theme import THEMES

# linear sRGB as seen without one kind of cone: Machado, Oliveira & Fernandes, "A Physiologically-based Model for
# Simulation of Color Vision Deficiency" (2009), severity 1.0
EYES = {
    "all cones": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
JUST_NOTICEABLE = 0.02  # a distance in Oklab, about
ROUNDING = 0.004  # of a lightness, where colours are rounded to 1/255


@pytest.fixture(params=EYES)
def seen(request):
    """Colours [..., 3] in 0..255 as Oklab, through these eyes."""

    def through(rgb):
        share = np.asarray(rgb) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        linear = (linear @ np.transpose(EYES[request.param])).clip(0, 1)
        return to_lab(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

    return through


@pytest.mark.parametrize("theme", THEMES)
def test_the_sequential_scale_only_ever_gets_darker_or_lighter(seen, theme):
    lightness = seen(lookup("sequential", theme))[:, 0]
    steps = np.diff(lightness) * np.sign(lightness[-1] - lightness[0])
    assert steps.min() > -ROUNDING
    assert abs(lightness[-1] - lightness[0]) > 0.6


@pytest.mark.parametrize("theme", THEMES)
def test_each_side_of_the_diverging_scale_leaves_the_middle_steadily_and_is_no_other_side(seen, theme):
    scale = seen(lookup("diverging", theme))
    for branch in (scale[127::-1, 0], scale[128:, 0]):
        steps = np.diff(branch) * np.sign(branch[-1] - branch[0])
        assert steps.min() > -ROUNDING
        assert abs(branch[-1] - branch[0]) > 0.3
    apart = np.linalg.norm(scale[:97] - scale[:-98:-1], axis=1)  # a value and its negative, from the ends inwards
    assert apart.min() > 5 * JUST_NOTICEABLE


@pytest.mark.parametrize("theme", THEMES)
def test_no_two_colours_of_the_palette_look_alike(seen, theme):
    palette = seen([[int(shade[at : at + 2], 16) for at in (1, 3, 5)] for shade in THEMES[theme].palette])
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(palette, 2)) > 3 * JUST_NOTICEABLE
