"""Moves: maps of a state that stay at its noise level."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from recon.condition import Consistency, Denoise
from recon.noise import Noise

Move = Callable[[Denoise, Tensor, float, Noise], Tensor]


def langevin(snr: float) -> Move:
    """x + e score + sqrt(2 e) n with e = 2 (snr sigma)^2: one Langevin step towards p_sigma.

    Song et al. set e = 2 (snr |n| / |score|)^2 anew at each step; |n| / |score| is replaced by its expected value sigma
    here, so that the step does not depend on the state (nor on its batch mates).

    Reference: Song et al., 2021, algorithms 4 and 5, arXiv:2011.13456.
    """

    def move(denoise: Denoise, x: Tensor, sigma: float, noise: Noise) -> Tensor:
        if sigma == 0:
            return x
        share = 2 * snr**2
        return x + share * (denoise(x, sigma) - x) + math.sqrt(2 * share) * sigma * noise(x)

    return move


def on_state(consistency: Consistency) -> Move:
    """The state pulled to data that were noised to its own level, y + sigma A n: sigma n + consistency(x - sigma n).

    For a consistency that depends on v through y - A v only, this is the same map with y + sigma A n for y.

    Reference: Song et al., 2022, algorithm 2, arXiv:2111.08005; Lugmayr et al., RePaint, 2022, equation 8,
    arXiv:2201.09865.
    """

    def move(denoise: Denoise, x: Tensor, sigma: float, noise: Noise) -> Tensor:
        if sigma == 0:
            return consistency(x, sigma)
        n = sigma * noise(x)
        return n + consistency(x - n, sigma)

    return move
