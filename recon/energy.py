"""Energy guidance: p(x) exp(-w E(x)) for any differentiable penalty E of an image.

A likelihood is the energy -log p(y | x); others say what images should be like: small, smooth, sparse. Guidances are
summed by `total`, so an energy goes with any guidance by data:

    guide = total(guidance.spectral(measurement, prior, 0.1), energy(total_variation, 2.0))
    method = Method(guided(prior.denoise, guide), default_levels(prior, 50), ancestral())
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from recon.condition import Guidance, Vjp
from recon.ranges import Words

Energy = Callable[[Tensor], Tensor]  # x (B, *event) -> (B,), one number an image that depends on it alone


def squared(x: Tensor) -> Tensor:
    """|x|^2 / 2, (B,)."""
    return 0.5 * x.square().flatten(1).sum(1)


def total_variation(x: Tensor, smoothing: float = 1e-3) -> Tensor:
    """sum of (|grad x|^2 + smoothing^2)^(1/2) - smoothing over forward differences of the last two axes, (B,).

    Vectors (B, d) have one axis.
    """
    power = torch.zeros_like(x)
    for axis in range(-min(2, x.ndim - 1), 0):
        power = power + torch.diff(x, dim=axis, append=x.narrow(axis, x.shape[axis] - 1, 1)).square()
    return ((power + smoothing**2).sqrt() - smoothing).flatten(1).sum(1)


def entropy(x: Tensor, floor: float = 1e-3) -> Tensor:
    """sum of p log p for p = softplus(x) shared out to sum to one, the negative entropy of an image's mass, (B,)."""
    p = torch.nn.functional.softplus(x.flatten(1)) + floor
    p = p / p.sum(1, keepdim=True)
    return (p * p.log()).sum(1)


ENERGIES: dict[str, Energy] = {"squared": squared, "tv": total_variation, "entropy": entropy}
EnergyName = Annotated[str, Words(tuple(ENERGIES))]


def _gradient(function: Energy, x: Tensor, weight: float, keep: bool = False) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_(True)
    return leaf, torch.autograd.grad(weight * function(leaf).sum(), leaf, create_graph=keep)[0]


def energy(function: Energy, weight: float | Callable[[float], float]) -> Guidance:
    """-w sigma^2 J^T grad E(x0): the energy of the estimate in place of that of the image, J = dx0/dx.

    Reference: Bansal et al., Universal guidance for diffusion models, 2023, section 3.1, arXiv:2302.07121.
    """

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        with torch.enable_grad():
            slope = _gradient(function, x0, weight(sigma) if callable(weight) else weight)[1]
        return -(sigma**2) * vjp(slope, last=True)

    return shift


def energy_moment(function: Energy, weight: float, iterations: int = 8, tolerance: float = 1e-6) -> Guidance:
    """-C (1 + w H C)^-1 w grad E(x0), with C = sigma^2 J the covariance of x0 given x and H the Hessian of E at x0.

    The mean of N(x0, C) exp(-w E) for the quadratic that E is like at x0: exact where prior and energy are Gaussian.
    E must be convex. Conjugate gradients in the inner product <a, C b>, in which 1 + w H C is symmetric; each iteration
    costs one backpropagation through the prior and one through the gradient of E.

    Args:
        function, weight: E and w.
        iterations: at most so many.
        tolerance: of |residual| in that inner product, relative to the first.
    """

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def spread(v: Tensor) -> Tensor:
            return sigma**2 * vjp(v)

        with torch.enable_grad():
            leaf, slope = _gradient(function, x0, weight, keep=True)

        def curved(v: Tensor) -> Tensor:
            if not slope.requires_grad:  # the energy is linear
                return torch.zeros_like(v)
            return torch.autograd.grad(slope, leaf, v, retain_graph=True)[0]

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))

        tiny = torch.finfo(x0.dtype).tiny
        residual = slope.detach()
        through = spread(residual)
        along, along_through, result = residual, through, torch.zeros_like(x0)
        size = first = dot(residual, through)
        for _ in range(iterations):
            image = along + curved(along_through)
            length = torch.where(
                size > tolerance**2 * first, size / dot(image, along_through).clamp(min=tiny), 0.0
            )  # a row that is done stays as it is
            result = result + length * along_through
            residual = residual - length * image
            through = spread(residual)
            size, before = dot(residual, through), size
            share = size / before.clamp(min=tiny)
            along, along_through = residual + share * along, through + share * along_through
        return -result

    return shift


def total(*guidances: Guidance) -> Guidance:
    """The sum of several shifts."""

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def kept(v: Tensor, last: bool = False) -> Tensor:
            return vjp(v)

        return sum(guidance(x0, kept, sigma) for guidance in guidances)

    return shift
