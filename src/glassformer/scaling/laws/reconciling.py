"""Why Kaplan's exponent is 0.73 and Chinchilla's 0.5: two papers that change one thing at a time.

Porian et al. 2024 repeat Kaplan's experiment and correct it in four steps; each step is a frontier N_opt(C) here.
Pearce & Song 2024 show by algebra that counting without embeddings, at small scale, bends Chinchilla's law into
Kaplan's.
"""

from __future__ import annotations

from collections.abc import Mapping

from glassformer.scaling.laws.chinchilla import BESIROGLU_FIT
from glassformer.scaling.laws.law import Constant, Counting, Frontier, Law

PORIAN = "Porian et al. 2024, arXiv 2406.19146"
PEARCE_SONG = "Pearce & Song 2024, arXiv 2406.12907"

WITHOUT_HEAD = "parameters without embedding and last layer"
WITH_HEAD = "parameters with the last layer and without the embedding (all of them, where the two are one matrix)"


def _step(name: str, title: str, k: float, a: float, data: str, low: float, high: float) -> Frontier:
    counting: Counting = "total" if "standard" in data else "non-embedding"
    return Frontier(
        name=f"porian-{name}",
        title=title,
        formula="N = k·C^a",
        constants={
            "k": Constant(k, "parameters · FLOP^-a", "scale"),
            "a": Constant(a, "1", "exponent of C", f"{a:.3f}"),
        },
        inputs={"C": "training compute 6·N·D, FLOPs"},
        output=("N", WITH_HEAD if counting == "total" else WITHOUT_HEAD),
        table=f"Porian, {title}",
        source=f"{PORIAN}, figure 1, RefinedWeb; weighted fit of the authors' released data, {data}",
        counting=counting,
        fitted_range={"C": (low, high)},
        note="A step of the chain 0.835 → 0.706 → 0.602 → 0.571 → 0.497, from Kaplan's exponent to Chinchilla's.",
        mixing={
            "Chinchilla approach 3, unrounded": "other data, another tokenizer, and only the exponent can be compared."
        },
    )


PORIAN_CHAIN: tuple[Frontier, ...] = (
    _step(
        "kaplan",
        "Kaplan's experiment repeated",
        4.2319659184965657e-08,
        0.8353000424913991,
        "rw/base/long/kaplan/kaplan/train",
        1.25e16,
        1.28e19,
    ),
    _step(
        "last-layer",
        "and the last layer counted",
        1.2701847832482018e-05,
        0.7064699122200796,
        "rw/base/long/kaplan/standard/val",
        2.5e16,
        2.56e19,
    ),
    _step(
        "warmup",
        "and a warm-up as short as the model is small",
        0.0014309165592833362,
        0.6020375267309686,
        "rw/base/short/kaplan/standard/val",
        1.25e16,
        2.56e19,
    ),
    _step(
        "cosine",
        "and a cosine decay that ends with the training",
        0.0047692867893526685,
        0.5714947855747434,
        "rw/base/short/chinchilla/standard/val",
        1.25e16,
        2.56e19,
    ),
    _step(
        "tuned",
        "and learning rate, batch and β₂ tuned for each size",
        0.11892648397493802,
        0.49689507817885203,
        "rw/tuned/short/const/standard/val",
        1.25e16,
        2.56e19,
    ),
)
"""Each step keeps the ones before it, but the last, which replaces the decay by a constant learning rate."""

NON_EMBEDDING = "parameters without embeddings"
TABLE = "Pearce & Song, γ and Besiroglu's constants"
KAPLANS_RANGE = (768.0, 1.5e9)

EMBEDDINGS = Constant(47_491, "parameters^(2/3)", "embeddings for each d_model: vocabulary · (aspect ratio/12)^(1/3)")
REFIT: Mapping[str, Constant] = {symbol: BESIROGLU_FIT.constants[symbol] for symbol in ("A", "B", "α", "β")}

TOTAL_PARAMETERS = Law(
    name="pearce-song-total-parameters",
    title="all parameters of a model, from those without embeddings",
    formula="N_total = N + γ·N^(1/3)",
    constants={"γ": EMBEDDINGS},
    inputs={"N": NON_EMBEDDING},
    output=("N_total", "parameters"),
    table=TABLE,
    source=f"{PEARCE_SONG}, §3, the fit of N_total against N",
    counting="non-embedding",
    note="Fitted to Chinchilla's model table: a vocabulary of 32,000 and an aspect ratio near 39.2. For a model at "
    "hand, count it (scaling/laws/counting.py).",
)


OPTIMAL_COMPUTE = Law(
    name="pearce-song-compute",
    title="compute at which N is optimal, both without embeddings",
    formula="C = 6·N·[(β·B/(α·A))·(N + γ·N^(1/3))^(1+α)/(N + γ·N^(1/3)/3)]^(1/β)",
    constants={"γ": EMBEDDINGS, **REFIT},
    inputs={"N": NON_EMBEDDING},
    output=("C", "FLOPs, 6·N·D without embeddings"),
    table=TABLE,
    source=f"{PEARCE_SONG}, §3, with the constants of Besiroglu et al. 2024",
    counting="non-embedding",
    fitted_range={"N": KAPLANS_RANGE},
    note="Chinchilla's form of the loss, which is of all parameters, with dL/dN = 0 at constant 6·N·D. Its inverse is "
    "N_opt(C), no power law: see pearce-song-exponent.",
)

LOCAL_EXPONENT = Law(
    name="pearce-song-exponent",
    title="local exponent of N_opt(C), both without embeddings",
    formula="a(N) = 1/[1 − (x + γ/9)/(β·(x + γ/3)) + (1+α)·(x + γ/3)/(β·(x + γ))]; x = N^(2/3)",
    constants={"γ": EMBEDDINGS, "α": REFIT["α"], "β": REFIT["β"]},
    inputs={"N": NON_EMBEDDING},
    output=("a", "1"),
    table=TABLE,
    source=f"{PEARCE_SONG}, §3",
    counting="non-embedding",
    fitted_range={"N": KAPLANS_RANGE},
    note="β/(α/3 + β) = 0.76 for the smallest models, higher where the embeddings are as large as the rest, and "
    "β/(α + β) = 0.51 for the largest: Kaplan's 0.73 is what small models show when their embeddings are not counted.",
)

RECONCILING: tuple[Law, ...] = (*PORIAN_CHAIN, TOTAL_PARAMETERS, OPTIMAL_COMPUTE, LOCAL_EXPONENT)
