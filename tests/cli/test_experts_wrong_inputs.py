"""Wrong settings of experts: status 2, one message that says what was given, what was expected and what to do."""

from __future__ import annotations

import re

import pytest

from glassformer.cli.main import main

E = "feedforward.experts"
ROWS: dict[str, tuple[str, str]] = {
    "no number of experts": ("n_active=2", r"feedforward\.experts\.n_experts is missing"),
    "no experts": ("n_experts=0", r"n_experts is 0; expected greater than or equal to 1"),
    "half an expert": (
        "n_experts=1.5",
        r"^error: The model cannot work: feedforward\.experts\.n_experts is '1\.5'; expected a valid integer\.$",
    ),
    "too many experts": ("n_experts=5000", r"n_experts is 5000; expected less than or equal to 4096"),
    "a word for a number": ("n_experts=many", r"n_experts is 'many'"),
    "more active than there are": ("n_experts=4 n_active=5", r"n_active is 5, and there are 4 experts"),
    "no active expert": ("n_experts=4 n_active=0", r"n_active is 0"),
    "one active, renormalised": (
        "n_experts=4 n_active=1 renormalise=true",
        r"router no gradient.*renormalise=false",
    ),
    "an unknown router": ("n_experts=4 router=softmaxx", r"'softmaxx', which is not a registered router.*softmax"),
    "a router that is a norm": ("n_experts=4 router=layernorm", r"not a registered router"),
    "a negative balance": ("n_experts=4 balance=-1", r"balance is -1\.?0?; expected greater than or equal to 0"),
    "a balance that is not finite": ("n_experts=4 balance=inf", r"balance is inf"),
    "a balance of equal loads": ("n_experts=4 router=expert-choice balance=0.1", r"balance has no effect"),
    "a negative z-loss": ("n_experts=4 z_loss=-0.1", r"z_loss is -0\.1"),
    "a jitter of 1": ("n_experts=4 jitter=1", r"jitter is 1\.?0?; expected less than 1"),
    "a bias rate without a bias": ("n_experts=4 bias_rate=0.1", r"bias_rate is of a selection bias.*router=sigmoid"),
    "a negative bias rate": ("n_experts=4 router=sigmoid bias_rate=-1", r"bias_rate is -1"),
    "a capacity without a limit": ("n_experts=4 capacity=2", r"capacity is a limit.*router=softmax-capacity"),
    "a capacity of 0": ("n_experts=4 router=softmax-capacity capacity=0", r"capacity is 0"),
    "weights that are never renormalised": (
        "n_experts=4 router=expert-choice renormalise=true",
        r"renormalise has no effect with router=expert-choice",
    ),
    "no layer with experts": ("n_experts=4 every=9", r"every is 9, and the model has 4 layers"),
    "every 0th layer": ("n_experts=4 every=0", r"every is 0"),
    "a width of 0": ("n_experts=4 d_ff=0", r"d_ff is 0"),
    "fewer than no shared experts": ("n_experts=4 n_shared=-1", r"n_shared is -1"),
    "a scale of 0": ("n_experts=4 scale=0", r"scale is 0"),
    "a setting that is misspelt": (
        "n_experts=4 n_activ=2",
        r"'feedforward\.experts\.n_activ' is not a setting.*n_active",
    ),
    "an option that the router does not take": ("n_experts=4 options.strength=2", r"router 'softmax'.*strength"),
    "wider than can be": ("n_experts=4 d_ff=2000000000", r"d_ff is 2000000000; expected less than or equal to"),
    "a router's options that are no group": ("n_experts=4 options=fast", r"options is 'fast'"),
}


def told(capsys, monkeypatch, settings):
    """The message of ``glassformer info`` with these settings, on one line."""
    monkeypatch.setenv("COLUMNS", "120")
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert main(["info", "nanogpt-shakespeare-cpu", *arguments]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "Traceback" not in out.err
    return " ".join(out.err.split())


@pytest.mark.parametrize("what", ROWS)
def test_wrong_settings_of_experts_are_explained(what, capsys, monkeypatch):
    settings, expected = ROWS[what]
    message = told(capsys, monkeypatch, [f"{E}.{setting}" for setting in settings.split()])
    assert re.search(expected, message), message
    assert message.lower().count("error") <= 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            [f"{E}.n_experts=4", "feedforward.convolution=true"],
            r"convolution and feedforward\.experts cannot be combined",
        ),
        ([f"{E}.n_experts=4", "sublayers=attention"], r"leaves the feed-forward layers out"),
        ([f"{E}=8"], r"is a group of settings"),
        ([f"{E}.n_experts=4", f"{E}.n_active=9", f"{E}.bias_rate=1"], r"n_active is 9.*bias_rate"),
    ],
)
def test_settings_that_do_not_go_together_are_explained(settings, expected, capsys, monkeypatch):
    message = told(capsys, monkeypatch, settings)
    assert re.search(expected, message), message
