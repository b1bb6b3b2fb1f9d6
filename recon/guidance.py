"""Guidance: shifts of the estimate that follow from a Gaussian approximation of p(x0 | x).

With p(x0 | x) = N(x0, C) the data have the marginal N(A x0, A C A^H + sigma_y^2), and Tweedie's formula for the
conditional score gives the shift sigma^2 J^T A^H (A C A^H + sigma_y^2)^-1 (y - A x0), J = dx0/dx. The methods differ
in C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recon.condition import Guidance, Vjp
from recon.krylov import dot, truncated_cg
from recon.likelihood import Measurement
from recon.prior import Prior
from recon.spaces import Way
from recon.wiener import goal_of, solver

Weighed = Callable[[Tensor, Vjp, float], tuple[Tensor, Tensor]]  # log g (B,), and the shift


def white(measurement: Measurement, variance: Callable[[float], float]) -> Guidance:
    """C = r^2 I with r^2 = variance(sigma): sigma^2 J^T A^H (r^2 A A^H + sigma_y^2)^-1 (y - A x0).

    Reference: Song et al., Pseudoinverse-guided diffusion models, 2023, equation 7 (PiGDM).
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        r2 = variance(sigma)
        return vjp(operator.damped_pinv(measurement.residual(x0), noise / r2), last=True) * (sigma**2 / r2)

    return shift


def spectral(measurement: Measurement, prior: Prior, tolerance: float, levels: Sequence[float] = ()) -> Guidance:
    """The shift of `weighed` alone, as exact as a run through these levels wants it, see `recon.wiener.goal_of`."""
    goal = goal_of(measurement, tolerance, levels)
    less = goal_of(measurement, tolerance, levels, share=tolerance)  # of corrections, whose errors do not add up
    both = weighed(measurement, solver(measurement, prior, goal, less))
    return lambda x0, vjp, sigma: both(x0, vjp, sigma)[1]


def weighed(measurement: Measurement, way: Way) -> Weighed:
    """log N(y; A x0, S) up to a number that depends on sigma alone, and the shift of `moment` by one backpropagation,
    with the prior's measured error covariance C as preconditioner.

    With S = A C A^H + sigma_y^2 and B = sigma^2 A J A^H + sigma_y^2, moment matching wants sigma^2 J^T A^H B^-1 r for
    the residual r = y - A x0. One step of conjugate gradients along u = S^-1 r, of length a = <r, u> / <u, B u> and at
    most 1, takes what the Jacobian explains; what is left of the data, r - a B u, is explained by C instead:

        shift = a sigma^2 J A^H u + C A^H S^-1 (r - a B u) = C A^H u + d - C A^H S^-1 A d,  d = a (sigma^2 J - C) A^H u

    So data that the denoiser is blind to, where J is about zero, still move the estimate, and steps that would
    overshoot are shortened. Where C = sigma^2 J, for stationary Gaussian images, a is 1 and d is 0: exact. What the
    data say comes from a way of `recon.spaces`; weights want it more exactly than shifts do, see `recon.weighing`.
    """
    operator = measurement.operator

    def both(x0: Tensor, vjp: Vjp, sigma: float) -> tuple[Tensor, Tensor]:
        residual = measurement.residual(x0)
        found = way.solve(residual, sigma)
        along = sigma**2 * vjp(found.v, last=True)
        gain, curvature = found.misfit + dot(found.v, found.shift), found.misfit + dot(found.v, along)
        step = gain / torch.maximum(curvature, gain).clamp(min=torch.finfo(gain.dtype).tiny)
        change = step.reshape(-1, *(1,) * (x0.ndim - 1)) * (along - found.shift)
        return -0.5 * gain.double(), found.shift + change - way.shift(operator(change), sigma)

    return both


def moment(measurement: Measurement, iterations: int, tolerance: float) -> Guidance:
    """C = sigma^2 J, the covariance of x0 given x by Tweedie's second formula; the solve is by conjugate gradients
    on vjp.

    Exact for a Gaussian prior. Every iteration costs one backpropagation through the prior.

    Reference: Boys et al., Tweedie moment projected diffusions, 2023, arXiv:2310.06721; Rozet et al., 2024,
    section 4 (MMPS), arXiv:2405.13712.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        def marginal(u: Tensor) -> Tensor:
            return noise * u + sigma**2 * operator(vjp(operator.adjoint(u)))

        solved = truncated_cg(marginal, measurement.residual(x0), iterations, tolerance)
        return sigma**2 * vjp(operator.adjoint(solved), last=True)

    return shift


def residual_norm(measurement: Measurement, weight: Callable[[float], float]) -> Guidance:
    """-weight(sigma) times the gradient of |y - A x0| with respect to x, per sample.

    Algorithm 1 with step size zeta / |y - A x0| has the gradient of |y - A x0|^2, twice this; the published code has
    this.

    Reference: Chung et al., Diffusion posterior sampling, 2023, algorithm 1 and section 4, arXiv:2209.14687.
    """
    operator = measurement.operator

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        residual = measurement.residual(x0)
        norm = residual.flatten(1).norm(dim=1).clamp(min=1e-12).reshape(-1, *(1,) * (residual.ndim - 1))
        return weight(sigma) * vjp(operator.adjoint(residual / norm), last=True)

    return shift
