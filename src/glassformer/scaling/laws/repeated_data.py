"""What passing over the same text again is worth (Muennighoff et al. 2023, arXiv 2305.16264)."""

from __future__ import annotations

import math

from glassformer.scaling.laws.law import NATS, Constant, Law

PAPER = "Muennighoff et al. 2023, arXiv 2305.16264"
TABLE = "Muennighoff, C4"

TOKENS = "training tokens, repetitions counted"
UNIQUE = "unique tokens (no more than D count)"

REPEATED_TOKENS = Constant(15.387756, "repetitions", "after which repeated tokens are worth (1 − 1/e) of it", "15.39")
EXCESS_PARAMETERS = Constant(5.309743, "1", "the same for parameters beyond those that U unique tokens need", "5.31")


EFFECTIVE = "U'·[1 + R_D·(1 − e^(−(D/U' − 1)/R_D))]; U' = min(U, D)"

EFFECTIVE_TOKENS = Law(
    name="muennighoff-effective-tokens",
    title="unique tokens that repeated ones are worth",
    formula=f"D' = {EFFECTIVE}",
    constants={"R_D": REPEATED_TOKENS},
    inputs={"D": TOKENS, "U": UNIQUE},
    output=("D'", "tokens"),
    table=TABLE,
    source=f"{PAPER}, §3.1, D'; digits from the authors' repository",
    fitted_range={"D": (0, 9e11)},
    note="R* is nearly unidentified on the paper's 182 runs: it is a rough figure. Up to 4 epochs cost little, and "
    "there is no more to gain after some 40.",
)

LOSS = Law(
    name="muennighoff",
    title="loss with repeated data",
    formula=f"L(N, D, U) = E + A/N'^α + B/D'^β; D' = {EFFECTIVE}; "
    "N' = U_N·[1 + R_N·(1 − e^(−(N/U_N − 1)/R_N))]; U_N = min(N, G·(U'·G)^(β/α)); U' = min(U, D); "
    "G = (α·A/(β·B))^(1/(α+β))",
    constants={
        "E": Constant(math.exp(0.6254804), NATS, "irreducible loss", "1.87"),
        "A": Constant(math.exp(6.255414), f"{NATS} · parameters^α", "what too few parameters cost", "521"),
        "B": Constant(math.exp(7.3049974), f"{NATS} · tokens^β", "what too few tokens cost", "1488"),
        "α": Constant(0.3526596, "1", "exponent of the parameters", "0.353"),
        "β": Constant(0.3526596, "1", "exponent of the tokens, set equal to α", "0.353"),
        "R_D": REPEATED_TOKENS,
        "R_N": EXCESS_PARAMETERS,
    },
    inputs={"N": "all parameters", "D": TOKENS, "U": UNIQUE},
    output=("L", NATS),
    table=TABLE,
    source=f"{PAPER}, §3.1, L(N, D) with N' and D'; digits from the authors' repository",
    counting="total",
    fitted_range={"N": (0, 9e9), "D": (0, 9e11)},
    note="R* is nearly unidentified on the paper's 182 runs. Where no token repeats it is Chinchilla's form, with "
    "constants fitted to C4; the loss itself depends on text and tokenizer.",
    mixing={"Chinchilla approach 3, unrounded": "its constants are of other text; R* were fitted with those of C4."},
)

REPEATED_DATA: tuple[Law, ...] = (LOSS, EFFECTIVE_TOKENS)
