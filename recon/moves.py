"""Moves: maps of a state that stay at its noise level."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from recon.condition import Consistency, Denoise
from recon.noise import Noise
from recon.ranges import Words

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


def mala(snr: float) -> Move:
    """One step of `langevin` as a proposal x', kept with probability min(1, p(x') q(x|x') / (p(x) q(x'|x))).

    A denoiser, conditioned or not, has a score s but no density, so log p(x') - log p(x) is the integral of s along the
    segment, by Simpson's rule (exact for Gaussian p, error of order |x' - x|^5): three network calls. The decision is
    each row's own.

    Reference: Roberts and Tweedie, Exponential convergence of Langevin distributions, 1996; Besag, 1994.
    """

    def move(denoise: Denoise, x: Tensor, sigma: float, noise: Noise) -> Tensor:
        if sigma == 0:
            return x
        share = 2 * snr**2

        def drift(v: Tensor) -> Tensor:
            return denoise(v, sigma) - v  # sigma^2 times the score

        def total(v: Tensor) -> Tensor:
            return v.flatten(1).sum(1) / sigma**2

        here, way = drift(x), math.sqrt(2 * share) * sigma * noise(x)
        way = way + share * here
        there, middle = drift(x + way), drift(x + 0.5 * way)
        rise = total(way * (here + 4 * middle + there)) / 6
        reverse = total((way + share * there).square() - (way - share * here).square()) / (4 * share)
        chance = torch.special.log_ndtr(noise(x.flatten(1)[:, :1])[:, 0])  # log of a uniform number
        kept = (chance < rise - reverse).reshape(-1, *(1,) * (x.ndim - 1))
        return torch.where(kept, x + way, x)

    return move


@dataclass(frozen=True)
class Corrector:
    """A move by its name that keeps the law of its level: `make(snr)`, and the network calls of one move."""

    make: Callable[[float], Move]
    calls: int = 1


CORRECTORS: dict[str, Corrector] = {"langevin": Corrector(langevin), "mala": Corrector(mala, calls=3)}
CorrectorName = Annotated[str, Words(tuple(CORRECTORS))]


def corrector(name: str) -> Corrector:
    """The corrector of that name, see `CORRECTORS`.

    Raises:
        ValueError: there is none; the message names them.
    """
    if name not in CORRECTORS:
        raise ValueError(f"got corrector {name!r}; expected one of {', '.join(CORRECTORS)}")
    return CORRECTORS[name]


def below_noise(consistency: Consistency) -> Move:
    """consistency(x, sigma) at every level but 0: a draw given the state, which starts the next level."""
    return lambda denoise, x, sigma, noise: consistency(x, sigma) if sigma else x


def on_state(consistency: Consistency, noised: float = 1.0) -> Move:
    """The state pulled to data that were noised to its own level, y + sigma A n: sigma n + consistency(x - sigma n).

    For a consistency that depends on v through y - A v only, this is the same map with y + sigma A n for y. Methods
    that pull to less noisy data take `noised` times the level, 0 for the data as they are.

    Reference: Song et al., 2022, algorithm 2, arXiv:2111.08005; Lugmayr et al., RePaint, 2022, equation 8,
    arXiv:2201.09865.
    """

    def move(denoise: Denoise, x: Tensor, sigma: float, noise: Noise) -> Tensor:
        if sigma == 0 or noised == 0:
            return consistency(x, sigma)
        n = noised * sigma * noise(x)
        return n + consistency(x - n, sigma)

    return move
