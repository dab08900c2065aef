"""The loss of a mixture of experts, and of its granularity (Krajewski et al. 2024, arXiv 2402.07871)."""

from __future__ import annotations

from glassformer.scaling.laws.law import NATS, Constant, Law

KRAJEWSKI = Law(
    name="krajewski-experts",
    title="loss of a mixture of fine-grained experts",
    formula="L(N, D, G) = c + (g/G^γ + a)/N^α + b/D^β",
    constants={
        "a": Constant(18.1, f"{NATS} · parameters^α", "what too few parameters cost, at endless granularity"),
        "α": Constant(0.115, "1", "exponent of the parameters"),
        "b": Constant(30.8, f"{NATS} · tokens^β", "what too few tokens cost"),
        "β": Constant(0.147, "1", "exponent of the tokens"),
        "g": Constant(2.1, f"{NATS} · parameters^α", "what coarse experts cost"),
        "γ": Constant(0.58, "1", "exponent of the granularity"),
        "c": Constant(0.47, NATS, "irreducible loss"),
    },
    inputs={
        "N": "parameters without embeddings, those of all experts",
        "D": "training tokens",
        "G": "granularity: how many experts share the width of one feed-forward layer, 1 or more",
    },
    output=("L", NATS),
    table="Krajewski, mixture of experts",
    source="Krajewski et al. 2024, arXiv 2402.07871, the joint law of N, D and G, and table 1",
    counting="non-embedding",
    fitted_range={"G": (1, 16)},
    note="For 64 times the feed-forward parameters of the dense model. A finer G costs routing, which the loss does "
    "not show: compare at equal FLOPs and at equal time.",
)

MIXTURE_OF_EXPERTS: tuple[Law, ...] = (KRAJEWSKI,)
