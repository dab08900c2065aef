"""The additive law with exact derivatives, of one set of constants or of many draws of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glassformer.scaling.laws.formula import Array


@dataclass(frozen=True, eq=False)
class SumOfPowers:
    """L = E + Σ_k e^{u_k} (x_k/anchor_k)^{−a_k}, with θ = (E, u_1, a_1, u_2, a_2 …).

    The axes before the last broadcast: θ [B, 1, p] and inputs [m, k] give losses [B, m].

    Attributes:
        anchor: [k] where the powers are e^u: near the data, so that u and a are nearly independent.
        theta: [..., p], p = 1 + 2k.
    """

    anchor: tuple[float, ...]
    theta: npt.ArrayLike

    def loss(self, x: npt.ArrayLike) -> Array:
        """Of inputs [..., k] → nats per token [...]."""
        return np.asarray(self._theta[..., 0] + self.reducible(x), dtype=np.float64)

    def reducible(self, x: npt.ArrayLike) -> Array:
        """L − E, [...]."""
        return np.asarray(self._powers(x).sum(axis=-1), dtype=np.float64)

    def slopes(self, x: npt.ArrayLike) -> Array:
        """∂L/∂θ, [..., p]."""
        powers = self._powers(x)
        pairs = np.stack([powers, -self._distances(x) * powers], axis=-1).reshape(*powers.shape[:-1], -1)
        return np.concatenate([np.ones((*powers.shape[:-1], 1)), pairs], axis=-1)

    def jacobian(self, x: npt.ArrayLike) -> Array:
        """∂ ln L/∂θ, [..., p]."""
        return np.asarray(self.slopes(x) / self.loss(x)[..., None], dtype=np.float64)

    @property
    def _theta(self) -> Array:
        return np.asarray(self.theta, dtype=np.float64)

    def _distances(self, x: npt.ArrayLike) -> Array:
        """ln(x/anchor), [..., k]."""
        return np.asarray(np.log(np.asarray(x, dtype=np.float64) / np.array(self.anchor)), dtype=np.float64)

    def _powers(self, x: npt.ArrayLike) -> Array:
        """Each term, [..., k]."""
        u, a = self._theta[..., 1::2], self._theta[..., 2::2]
        return np.asarray(np.exp(u - a * self._distances(x)), dtype=np.float64)
