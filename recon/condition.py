"""Adapters that make a conditioned denoiser of a plain one; the result has the same type and serves any step.

A shift acts on the estimate, x0 + shift, which is Bayes' rule and does not depend on the number of steps. Published
code often adds it to the next state instead; the two are equal up to the gain 1 - k of the step (see `recon.steps`),
which is what `gain` divides by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from recon.schedule import karras

Denoise = Callable[[Tensor, float], Tensor]


class Vjp(Protocol):
    """v -> (dx0/dx)^T v, as often as wanted until one call is said to be the last, which lets go of what it passes."""

    def __call__(self, v: Tensor, last: bool = False) -> Tensor: ...


Guidance = Callable[[Tensor, Vjp, float], Tensor]
Consistency = Callable[[Tensor, float], Tensor]


def with_vjp(denoise: Denoise, x: Tensor, sigma: float) -> tuple[Tensor, Vjp]:
    """x0 = denoise(x, sigma), and v -> (dx0/dx)^T v by backpropagation."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        x0 = denoise(leaf, sigma)

    def vjp(v: Tensor, last: bool = False) -> Tensor:
        return torch.autograd.grad(x0, leaf, v, retain_graph=not last)[0]

    return x0.detach(), vjp


def guided(denoise: Denoise, guidance: Guidance, gain: Callable[[float], float] | None = None) -> Denoise:
    """x0 + guidance(x0, vjp, sigma) / gain(sigma)."""

    def conditioned(x: Tensor, sigma: float) -> Tensor:
        x0, vjp = with_vjp(denoise, x, sigma)
        shift = guidance(x0, vjp, sigma)
        return x0 + (shift if gain is None else shift / gain(sigma))

    return conditioned


def on_estimate(
    denoise: Denoise, consistency: Consistency, gain: Callable[[float], float] = lambda sigma: 1.0
) -> Denoise:
    """x0 + (consistency(x0) - x0) / gain(sigma): the estimate pulled to the data, no backpropagation."""

    def conditioned(x: Tensor, sigma: float) -> Tensor:
        x0 = denoise(x, sigma)
        return x0 + (consistency(x0, sigma) - x0) / gain(sigma)

    return conditioned


def merged(denoise: Denoise, y: Tensor, level: float) -> Denoise:
    """E[x0 | x, y] for y = x0 + level n: with x one observation of both, of less noise, so no approximation at all.

    N(x; x0, sigma^2) N(y; x0, level^2) is, as a function of x0, N(x0; m, tau^2) with m the mean of x and y weighted by
    1 / sigma^2 and 1 / level^2, and 1 / tau^2 the sum of the weights.
    """

    def conditioned(x: Tensor, sigma: float) -> Tensor:
        if level == 0:
            return y.expand_as(x)
        total = sigma**2 + level**2
        return denoise(x + sigma**2 / total * (y - x), sigma * level / total**0.5)

    return conditioned


def multi_step(denoise: Denoise, calls: int, sigma_min: float) -> Denoise:
    """The end of the probability-flow ODE from (x, sigma) by `calls` Euler steps, in place of one Tweedie jump.

    Reference: Zhang et al., DAPS, 2024, section 3.2, arXiv:2407.01521.
    """

    def solved(x: Tensor, sigma: float) -> Tensor:
        levels = karras(calls, sigma, min(sigma_min, 0.5 * sigma))
        for now, following in zip(levels, levels[1:], strict=False):
            x0 = denoise(x, now)
            x = x0 + (following / now) * (x - x0)
        return x

    return solved
