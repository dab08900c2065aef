"""Learning rate and batch size as laws: DeepSeek's, of compute, and the Step Law, of parameters and tokens."""

from __future__ import annotations

from functools import partial

from glassformer.scaling.laws.law import Constant, Law

DEEPSEEK = "DeepSeek-AI 2024 (DeepSeek LLM), arXiv 2401.02954"
STEP_LAW = "Li et al. 2025 (Step Law), arXiv 2503.04715"

DEEPSEEK_TABLE, STEP_TABLE = "DeepSeek's fit", "Step Law's fit"
APART = "each pair of learning rate and batch was found together, for its own schedule and data."

_deepseek = partial(
    Law,
    inputs={"C": "training compute without embeddings, FLOPs"},
    table=DEEPSEEK_TABLE,
    source=f"{DEEPSEEK}, eq. 1",
    fitted_range={"C": (1e17, 2e19)},
    note="AdamW with a learning rate that falls in steps. The constants are taken from secondary sources. Near the "
    "optimum the loss is flat: a factor of two matters little.",
    mixing={STEP_TABLE: APART},
)
_step_law = partial(Law, table=STEP_TABLE, source=f"{STEP_LAW}, eq. 1", mixing={DEEPSEEK_TABLE: APART})

DEEPSEEK_LEARNING_RATE = _deepseek(
    name="deepseek-learning-rate",
    title="best learning rate for a compute budget",
    formula="lr = k·C^a",
    constants={"k": Constant(0.3118, "FLOP^-a", "scale"), "a": Constant(-0.1250, "1", "exponent of C", "-0.1250")},
    output=("lr", "learning rate of AdamW"),
)

DEEPSEEK_BATCH = _deepseek(
    name="deepseek-batch",
    title="best batch size for a compute budget",
    formula="B = k·C^a",
    constants={"k": Constant(0.2920, "tokens · FLOP^-a", "scale"), "a": Constant(0.3271, "1", "exponent of C")},
    output=("B", "tokens"),
)

STEP_LEARNING_RATE = _step_law(
    name="step-law-learning-rate",
    title="best learning rate for a model and its training tokens",
    formula="lr = k·N^n·D^d",
    constants={
        "k": Constant(1.79, "parameters^-n · tokens^-d", "scale"),
        "n": Constant(-0.713, "1", "exponent of N"),
        "d": Constant(0.307, "1", "exponent of D"),
    },
    inputs={"N": "parameters without embeddings", "D": "training tokens"},
    output=("lr", "peak learning rate of AdamW"),
    counting="non-embedding",
    note="For a cosine decay to a fixed last learning rate of 1e-5, not to a tenth of the peak.",
)

STEP_BATCH = _step_law(
    name="step-law-batch",
    title="best batch size for a number of training tokens",
    formula="B = k·D^d",
    constants={"k": Constant(0.58, "tokens^(1-d)", "scale"), "d": Constant(0.571, "1", "exponent of D")},
    inputs={"D": "training tokens"},
    output=("B", "tokens"),
    note="It does not depend on the model.",
)

HYPERPARAMETERS: tuple[Law, ...] = (DEEPSEEK_LEARNING_RATE, DEEPSEEK_BATCH, STEP_LEARNING_RATE, STEP_BATCH)
